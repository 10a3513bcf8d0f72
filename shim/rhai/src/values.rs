//! What a script sees: Job, Worker, WorkerList, JobError and the decisions wait() and reject().
//! Each is an epoch and an index into the caller's array; a field is read when it is asked for.

use crate::abi;
use crate::call::{self, Fallible};
use rhai::{Engine, ImmutableString, NativeCallContext};
use std::rc::Rc;

#[derive(Clone, Copy)]
pub struct Job {
    pub epoch: u64,
}

#[derive(Clone, Copy)]
pub struct JobError {
    pub epoch: u64,
}

#[derive(Clone, Copy)]
pub struct Worker {
    pub epoch: u64,
    pub index: u32,
}

/// Cheap to clone, as Rhai clones values often.
#[derive(Clone)]
pub struct WorkerList {
    pub epoch: u64,
    pub indices: Rc<[u32]>,
}

#[derive(Clone)]
pub enum Decision {
    Wait,
    Reject(ImmutableString),
}

pub fn shared(text: &abi::Text) -> ImmutableString {
    // Safe: the caller's texts live as long as the call, and `call::with` ran first.
    unsafe { text.read() }.as_ref().into()
}

/// # Safety
/// As for `call::with`: only while the question lives.
pub unsafe fn workers_of(question: &abi::Question) -> &[abi::Worker] {
    if question.workers.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(question.workers, question.workers_count)
}

impl Worker {
    pub fn read<T>(&self, read: impl FnOnce(&abi::Worker) -> T) -> Fallible<T> {
        call::with(self.epoch, |question, _| {
            // Safe: indices come from workers_of() of the same epoch.
            read(&unsafe { workers_of(question) }[self.index as usize])
        })
    }

    /// A field that depends on the job: there is only one job in a call.
    fn read_for<T>(&self, job: Job, read: impl FnOnce(&abi::Worker) -> T) -> Fallible<T> {
        call::with(job.epoch, |_, _| ())?;
        self.read(read)
    }
}

impl Job {
    fn read<T>(&self, read: impl FnOnce(&abi::Job) -> T) -> Fallible<T> {
        // Safe: script.rs refuses a question without a job.
        call::with(self.epoch, |question, _| read(unsafe { &*question.job }))
    }
}

impl WorkerList {
    pub fn all(epoch: u64, count: usize) -> WorkerList {
        WorkerList { epoch, indices: (0..count as u32).collect() }
    }

    pub fn worker(&self, index: u32) -> Worker {
        Worker { epoch: self.epoch, index }
    }
}

impl IntoIterator for WorkerList {
    type Item = Worker;
    type IntoIter = Box<dyn Iterator<Item = Worker>>;
    fn into_iter(self) -> Self::IntoIter {
        Box::new((0..self.indices.len()).map(move |at| self.worker(self.indices[at])))
    }
}

macro_rules! fields {
    ($engine:expr, $type:ty, texts: [$($text:ident),*], numbers: [$($number:ident),*]) => {
        $($engine.register_get(stringify!($text), |it: &mut $type| {
            it.read(|raw| shared(&raw.$text))
        });)*
        $($engine.register_get(stringify!($number), |it: &mut $type| it.read(|raw| raw.$number));)*
    };
}

fn register_job(engine: &mut Engine) {
    engine.register_type_with_name::<Job>("Job");
    fields!(engine, Job,
        texts: [id, model, priority, tenant, session_id],
        numbers: [prompt_tokens_estimate, max_tokens, age_ms, attempt, temperature]);
    engine.register_fn("to_string", |job: &mut Job| {
        job.read(|raw| ImmutableString::from(format!("job {}", shared(&raw.id))))
    });
}

fn register_worker(engine: &mut Engine) {
    engine.register_type_with_name::<Worker>("Worker");
    fields!(engine, Worker,
        texts: [id, host, model, backend, status],
        numbers: [slots_total, slots_free, queue_depth, memory_free_bytes,
                  prefill_tokens_per_second, decode_tokens_per_second]);
    engine.register_fn("cached_tokens", |worker: &mut Worker, job: Job| {
        worker.read_for(job, |raw| raw.cached_tokens)
    });
    engine.register_fn("cost_ms", |worker: &mut Worker, job: Job| {
        worker.read_for(job, |raw| raw.cost_ms)
    });
    engine.register_fn("to_string", |worker: &mut Worker| {
        worker.read(|raw| ImmutableString::from(format!("worker {}", shared(&raw.id))))
    });
    engine.register_fn("==", |a: Worker, b: Worker| a.epoch == b.epoch && a.index == b.index);
    engine.register_fn("!=", |a: Worker, b: Worker| a.epoch != b.epoch || a.index != b.index);
}

fn register_error(engine: &mut Engine) {
    engine.register_type_with_name::<JobError>("JobError");
    engine.register_get("kind", |error: &mut JobError| {
        call::with(error.epoch, |question, _| shared(&question.error_kind))
    });
    engine.register_get("code", |error: &mut JobError| {
        call::with(error.epoch, |question, _| shared(&question.error_code))
    });
    engine.register_get("message", |error: &mut JobError| {
        call::with(error.epoch, |question, _| shared(&question.error_message))
    });
}

fn register_decisions(engine: &mut Engine) {
    engine.register_type_with_name::<Decision>("Decision");
    engine.register_fn("wait", |ctx: NativeCallContext| {
        call::note_line(ctx.call_position());
        Decision::Wait
    });
    engine.register_fn("reject", |ctx: NativeCallContext, reason: ImmutableString| {
        call::note_line(ctx.call_position());
        Decision::Reject(reason)
    });
}

pub fn register(engine: &mut Engine) {
    register_job(engine);
    register_worker(engine);
    register_error(engine);
    register_decisions(engine);
}
