//! The methods of WorkerList. Of several workers that are equally good, the one with more free
//! memory is taken, then the one whose last placement is longest ago: as the built-in policy does.

use crate::abi;
use crate::call::{self, script_error, Fallible};
use crate::values::{shared, workers_of, Job, Worker, WorkerList};
use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, NativeCallContext};
use std::cmp::Ordering;

fn turn(host: &abi::Host, index: u32) -> u64 {
    host.last_turn.map_or(0, |ask| ask(host.context, index as usize))
}

/// Whether worker `a` is to be taken instead of `b`, both having the key of their own.
fn is_better(host: &abi::Host, workers: &[abi::Worker], a: (u32, f64), b: (u32, f64)) -> bool {
    let memory = |index: u32| workers[index as usize].memory_free_bytes;
    let order = a.1.total_cmp(&b.1).then_with(|| memory(b.0).cmp(&memory(a.0)));
    order == Ordering::Less || (order == Ordering::Equal && turn(host, a.0) < turn(host, b.0))
}

/// The worker with the smallest key; () for none.
fn least(
    list: &WorkerList,
    key: impl Fn(&abi::Host, u32, &abi::Worker) -> f64,
) -> Fallible<Dynamic> {
    let chosen = call::with(list.epoch, |question, host| {
        // Safe: inside call::with.
        let workers = unsafe { workers_of(question) };
        let mut best: Option<(u32, f64)> = None;
        for &index in list.indices.iter() {
            let candidate = (index, key(host, index, &workers[index as usize]));
            if best.map_or(true, |b| is_better(host, workers, candidate, b)) {
                best = Some(candidate);
            }
        }
        best.map(|(index, _)| index)
    })?;
    Ok(or_unit(list, chosen))
}

fn or_unit(list: &WorkerList, index: Option<u32>) -> Dynamic {
    index.map_or(Dynamic::UNIT, |index| Dynamic::from(list.worker(index)))
}

fn kept(list: &WorkerList, keep: impl Fn(&abi::Worker) -> bool) -> Fallible<WorkerList> {
    let indices = call::with(list.epoch, |question, _| {
        // Safe: inside call::with.
        let workers = unsafe { workers_of(question) };
        list.indices.iter().copied().filter(|&index| keep(&workers[index as usize])).collect()
    })?;
    Ok(WorkerList { epoch: list.epoch, indices })
}

fn ask(
    ctx: &NativeCallContext,
    list: &WorkerList,
    index: u32,
    question: &FnPtr,
) -> Fallible<Dynamic> {
    question.call_raw(ctx, None, [Dynamic::from(list.worker(index))])
}

fn ask_bool(
    ctx: &NativeCallContext,
    list: &WorkerList,
    index: u32,
    question: &FnPtr,
) -> Fallible<bool> {
    match ask(ctx, list, index, question)?.as_bool() {
        Ok(answer) => Ok(answer),
        Err(kind) => script_error(format!("{}() wants true or false, got {kind}", ctx.fn_name())),
    }
}

fn ask_number(
    ctx: &NativeCallContext,
    list: &WorkerList,
    index: u32,
    question: &FnPtr,
) -> Fallible<f64> {
    let value = ask(ctx, list, index, question)?;
    let number = value.as_float().or_else(|_| value.as_int().map(|whole| whole as f64));
    match number {
        Ok(number) if !number.is_nan() => Ok(number),
        Ok(_) => script_error(format!("{}() wants a number, got NaN", ctx.fn_name())),
        Err(kind) => script_error(format!("{}() wants a number, got {kind}", ctx.fn_name())),
    }
}

fn least_by(
    ctx: &NativeCallContext,
    list: &WorkerList,
    question: &FnPtr,
    sign: f64,
) -> Fallible<Dynamic> {
    let mut keys = Vec::with_capacity(list.indices.len());
    for &index in list.indices.iter() {
        keys.push((index, sign * ask_number(ctx, list, index, question)?));
    }
    let chosen = call::with(list.epoch, |question, host| {
        // Safe: inside call::with.
        let workers = unsafe { workers_of(question) };
        keys.into_iter()
            .reduce(|best, next| if is_better(host, workers, next, best) { next } else { best })
    })?;
    Ok(or_unit(list, chosen.map(|(index, _)| index)))
}

/// Busy slots and jobs waiting, by slot.
fn load(worker: &abi::Worker) -> f64 {
    (worker.slots_total - worker.slots_free + worker.queue_depth) as f64
        / worker.slots_total.max(1) as f64
}

fn register_choices(engine: &mut Engine) {
    engine.register_fn("least_loaded", |ctx: NativeCallContext, list: &mut WorkerList| {
        call::note_line(ctx.call_position());
        least(list, |_, _, worker| load(worker))
    });
    engine.register_fn("best", |ctx: NativeCallContext, list: &mut WorkerList, job: Job| {
        call::note_line(ctx.call_position());
        call::with(job.epoch, |_, _| ())?;
        least(list, |_, _, worker| worker.cost_ms)
    });
    engine.register_fn("most_memory_free", |ctx: NativeCallContext, list: &mut WorkerList| {
        call::note_line(ctx.call_position());
        least(list, |_, _, _| 0.0)
    });
    engine.register_fn("round_robin", |ctx: NativeCallContext, list: &mut WorkerList| {
        call::note_line(ctx.call_position());
        least(list, |host, index, _| turn(host, index) as f64)
    });
    engine.register_fn("first", |ctx: NativeCallContext, list: &mut WorkerList| {
        call::note_line(ctx.call_position());
        or_unit(list, list.indices.first().copied())
    });
    engine.register_fn("min_by", |ctx: NativeCallContext, list: &mut WorkerList, key: FnPtr| {
        call::note_line(ctx.call_position());
        least_by(&ctx, &list.clone(), &key, 1.0)
    });
    engine.register_fn("max_by", |ctx: NativeCallContext, list: &mut WorkerList, key: FnPtr| {
        call::note_line(ctx.call_position());
        least_by(&ctx, &list.clone(), &key, -1.0)
    });
}

fn register_filters(engine: &mut Engine) {
    engine.register_fn("filter", |ctx: NativeCallContext, list: &mut WorkerList, keep: FnPtr| {
        let list = list.clone();
        let mut indices = Vec::with_capacity(list.indices.len());
        for &index in list.indices.iter() {
            if ask_bool(&ctx, &list, index, &keep)? {
                indices.push(index);
            }
        }
        Ok::<_, Box<rhai::EvalAltResult>>(WorkerList { epoch: list.epoch, indices: indices.into() })
    });
    engine.register_fn("idle", |list: &mut WorkerList| kept(list, |worker| worker.slots_free > 0));
    engine.register_fn("with_model", |list: &mut WorkerList, model: ImmutableString| {
        // Safe: kept() reads inside call::with.
        kept(list, |worker| unsafe { worker.model.bytes() } == model.as_bytes())
    });
    engine.register_fn("on_backend", |list: &mut WorkerList, backend: ImmutableString| {
        // Safe: kept() reads inside call::with.
        kept(list, |worker| {
            unsafe { worker.backend.bytes() }.eq_ignore_ascii_case(backend.as_bytes())
        })
    });
}

/// What an array of Rhai can do as well, as far as it makes sense for workers.
fn register_array_methods(engine: &mut Engine) {
    engine.register_fn("len", |list: &mut WorkerList| list.indices.len() as i64);
    engine.register_get("len", |list: &mut WorkerList| list.indices.len() as i64);
    engine.register_fn("is_empty", |list: &mut WorkerList| list.indices.is_empty());
    engine.register_get("is_empty", |list: &mut WorkerList| list.indices.is_empty());
    engine.register_fn("contains", |list: &mut WorkerList, worker: Worker| {
        list.epoch == worker.epoch && list.indices.contains(&worker.index)
    });
    engine.register_fn("some", |ctx: NativeCallContext, list: &mut WorkerList, holds: FnPtr| {
        let list = list.clone();
        for &index in list.indices.iter() {
            if ask_bool(&ctx, &list, index, &holds)? {
                return Ok(true);
            }
        }
        Ok::<_, Box<rhai::EvalAltResult>>(false)
    });
    engine.register_fn("all", |ctx: NativeCallContext, list: &mut WorkerList, holds: FnPtr| {
        let list = list.clone();
        for &index in list.indices.iter() {
            if !ask_bool(&ctx, &list, index, &holds)? {
                return Ok(false);
            }
        }
        Ok::<_, Box<rhai::EvalAltResult>>(true)
    });
    engine.register_fn("map", |ctx: NativeCallContext, list: &mut WorkerList, to: FnPtr| {
        let list = list.clone();
        let mut values = Array::with_capacity(list.indices.len());
        for &index in list.indices.iter() {
            values.push(ask(&ctx, &list, index, &to)?.flatten());
        }
        Ok::<_, Box<rhai::EvalAltResult>>(values)
    });
    engine.register_indexer_get(|ctx: NativeCallContext, list: &mut WorkerList, at: i64| {
        call::note_line(ctx.call_position());
        let count = list.indices.len() as i64;
        let place = if at < 0 { at + count } else { at };
        match usize::try_from(place).ok().and_then(|place| list.indices.get(place)) {
            Some(&index) => Ok(list.worker(index)),
            None => script_error(format!("there is no worker {at}: the list has {count}")),
        }
    });
    engine.register_fn("to_string", |list: &mut WorkerList| {
        call::with(list.epoch, |question, _| {
            // Safe: inside call::with.
            let workers = unsafe { workers_of(question) };
            let ids: Vec<_> =
                list.indices.iter().map(|&index| shared(&workers[index as usize].id)).collect();
            ImmutableString::from(format!("workers [{}]", ids.join(", ")))
        })
    });
    engine.register_iterator::<WorkerList>();
}

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<WorkerList>("WorkerList");
    register_choices(engine);
    register_filters(engine);
    register_array_methods(engine);
}
