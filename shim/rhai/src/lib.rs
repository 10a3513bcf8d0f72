//! The C functions of llorch_rhai.h. Each catches panics; what it gives lives in OUTCOME until this
//! thread's next call.

mod abi;
mod call;
mod engine;
mod list;
mod memory;
mod script;
mod strings;
mod values;

use script::{Choice, Decided, Failure, Script};
use std::any::Any;
use std::cell::RefCell;
use std::mem::size_of;
use std::os::raw::c_char;
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::sync::Once;

/// The memory behind the last answer of this thread.
#[derive(Default)]
struct Outcome {
    text: String,
    log_texts: Vec<(u32, String)>,
    log: Vec<abi::LogLine>,
}

thread_local! {
    static OUTCOME: RefCell<Outcome> = RefCell::default();
}

const MESSAGE_BYTES_MAX: usize = 1024;

fn empty_answer() -> abi::Answer {
    abi::Answer {
        kind: abi::BUILT_IN,
        error: abi::OK,
        line: 0,
        column: 0,
        hooks: 0,
        worker: 0,
        text: abi::Text::EMPTY,
        log: std::ptr::null(),
        log_count: 0,
    }
}

/// Gives the texts of `answer` a place to stay, and adds what the script logged.
fn keep(mut answer: abi::Answer, text: String) -> abi::Answer {
    OUTCOME.with_borrow_mut(|outcome| {
        outcome.text = text;
        outcome.log_texts = call::take_log();
        outcome.log = outcome
            .log_texts
            .iter()
            .map(|(level, text)| abi::LogLine { level: *level, text: abi::Text::of(text) })
            .collect();
        answer.text = abi::Text::of(&outcome.text);
        answer.log = outcome.log.as_ptr();
        answer.log_count = outcome.log.len();
    });
    answer
}

fn failed(failure: Failure) -> abi::Answer {
    let mut answer = empty_answer();
    answer.kind = abi::FAILED;
    answer.error = failure.error;
    answer.line = failure.position.line().unwrap_or(0) as u32;
    answer.column = failure.position.position().unwrap_or(0) as u32;
    keep(answer, call::cut(&failure.message, MESSAGE_BYTES_MAX).to_owned())
}

fn decided(decision: Decided) -> abi::Answer {
    let mut answer = empty_answer();
    answer.line = decision.line;
    let mut text = String::new();
    answer.kind = match decision.choice {
        Choice::BuiltIn => abi::BUILT_IN,
        Choice::Worker(index) => {
            answer.worker = index.into();
            abi::WORKER
        }
        Choice::Wait => abi::WAIT,
        Choice::Reject(reason) => {
            text = reason;
            abi::REJECT
        }
        Choice::Yes => abi::YES,
        Choice::No => abi::NO,
    };
    keep(answer, text)
}

fn panicked(payload: Box<dyn Any + Send>) -> abi::Answer {
    let words = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    let message = format!("the engine panicked: {words}");
    failed(Failure { error: abi::PANIC, message, position: rhai::Position::NONE })
}

/// A panic is an answer, not a text on stderr.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| set_hook(Box::new(|_| {})));
}

#[no_mangle]
pub extern "C" fn llorch_rhai_version(
    abi: u32,
    job_bytes: usize,
    worker_bytes: usize,
    limits_bytes: usize,
    question_bytes: usize,
    answer_bytes: usize,
) -> *const c_char {
    silence_panics();
    let agrees = abi == abi::ABI
        && job_bytes == size_of::<abi::Job>()
        && worker_bytes == size_of::<abi::Worker>()
        && limits_bytes == size_of::<abi::Limits>()
        && question_bytes == size_of::<abi::Question>()
        && answer_bytes == size_of::<abi::Answer>();
    if agrees {
        c"1.27.0".as_ptr()
    } else {
        std::ptr::null()
    }
}

fn compile(source: abi::Text, limits: &abi::Limits, host: &abi::Host) -> Result<Script, Failure> {
    // Safe: the caller keeps the source during the call.
    match std::str::from_utf8(unsafe { source.bytes() }) {
        Ok(text) => Script::compile(text, limits, host),
        Err(_) => Err(Failure {
            error: abi::SYNTAX,
            message: "the script is not UTF-8".to_owned(),
            position: rhai::Position::NONE,
        }),
    }
}

/// # Safety
/// As llorch_rhai.h says: the pointers are valid during the call.
#[no_mangle]
pub unsafe extern "C" fn llorch_rhai_compile(
    source: abi::Text,
    limits: *const abi::Limits,
    host: *const abi::Host,
    answer: *mut abi::Answer,
) -> *mut Script {
    silence_panics();
    let outcome = catch_unwind(AssertUnwindSafe(|| compile(source, &*limits, &*host)));
    let (script, told) = match outcome {
        Ok(Ok(script)) => {
            let mut told = empty_answer();
            told.hooks = script.hooks();
            (Box::into_raw(Box::new(script)), keep(told, String::new()))
        }
        Ok(Err(failure)) => (std::ptr::null_mut(), failed(failure)),
        Err(payload) => (std::ptr::null_mut(), panicked(payload)),
    };
    *answer = told;
    script
}

/// # Safety
/// As llorch_rhai.h says: `script` comes from llorch_rhai_compile, the pointers are valid.
#[no_mangle]
pub unsafe extern "C" fn llorch_rhai_call(
    script: *mut Script,
    question: *const abi::Question,
    answer: *mut abi::Answer,
) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (*script).ask(&*question)));
    *answer = match outcome {
        Ok(Ok(decision)) => decided(decision),
        Ok(Err(failure)) => failed(failure),
        Err(payload) => panicked(payload),
    };
}

/// # Safety
/// `script` comes from llorch_rhai_compile and is not used afterwards; null is fine.
#[no_mangle]
pub unsafe extern "C" fn llorch_rhai_free(script: *mut Script) {
    if script.is_null() {
        return;
    }
    // What panics while it is dropped is leaked.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(script))));
}
