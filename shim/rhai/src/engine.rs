//! An engine with our limits and types, and without a way out: no file, network, module or eval,
//! no clock but the caller's, nothing on stdout.

use crate::abi::Limits;
use crate::call::{self, script_error, Fallible};
use crate::{list, strings, values};
use rhai::packages::{Package, StandardPackage};
use rhai::{Dynamic, Engine, NativeCallContext, INT};

const INFO: u32 = 1;
const WARN: u32 = 2;
const ERROR: u32 = 3;

/// Clock and memory are looked at once in so many operations (a power of two): often enough to
/// notice a few slow ones, and cheap beside them.
const OPERATIONS_BETWEEN_LOOKS: u64 = 8;

fn set_limits(engine: &mut Engine, limits: &Limits) {
    engine.set_max_operations(limits.operations);
    engine.set_max_string_size(limits.string_bytes as usize);
    engine.set_max_array_size(limits.elements as usize);
    engine.set_max_map_size(limits.elements as usize);
    engine.set_max_call_levels(limits.call_depth as usize);
    engine.set_max_expr_depths(limits.expression_depth as usize, limits.expression_depth as usize);
    engine.set_max_variables(limits.variables as usize);
    engine.set_max_functions(limits.functions as usize);
    engine.set_max_strings_interned(1024);
    engine.on_progress(|operations| {
        if operations % OPERATIONS_BETWEEN_LOOKS != 0 {
            return None;
        }
        call::reason_to_stop().map(Dynamic::from)
    });
}

/// A registered function goes before one of a package. `sleep` would hold up the caller's thread,
/// and the others do much work in one operation or have no use in a policy.
fn replace_what_blocks(engine: &mut Engine) {
    fn refuse(ctx: &NativeCallContext) -> Fallible<Dynamic> {
        script_error(format!("{}() is not available in a policy", ctx.fn_name()))
    }
    engine.register_fn("sleep", |ctx: NativeCallContext, _: INT| refuse(&ctx));
    engine.register_fn("sleep", |ctx: NativeCallContext, _: f64| refuse(&ctx));
    engine.register_fn("parse_json", |ctx: NativeCallContext, _: &str| refuse(&ctx));
}

fn text_of(message: Dynamic) -> String {
    let message = message.flatten();
    if let Some(worker) = message.read_lock::<values::Worker>() {
        return worker.read(|raw| values::shared(&raw.id).to_string()).unwrap_or_default();
    }
    message.to_string()
}

fn register_host_functions(engine: &mut Engine) {
    engine.register_fn("now_ms", call::now_ms);
    engine.register_fn("log_info", |message: Dynamic| call::log(INFO, &text_of(message)));
    engine.register_fn("log_warn", |message: Dynamic| call::log(WARN, &text_of(message)));
    engine.register_fn("log_error", |message: Dynamic| call::log(ERROR, &text_of(message)));
    engine.on_print(|message| call::log(INFO, message));
    engine.on_debug(|message, _, _| call::log(INFO, message));
}

pub fn make(limits: &Limits) -> Engine {
    let mut engine = Engine::new_raw();
    engine.register_global_module(StandardPackage::new().as_shared_module());
    engine.disable_symbol("eval");
    set_limits(&mut engine, limits);
    replace_what_blocks(&mut engine);
    register_host_functions(&mut engine);
    values::register(&mut engine);
    list::register(&mut engine);
    strings::register(&mut engine, limits);
    engine
}
