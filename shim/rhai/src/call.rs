//! The call that runs on this thread: the only place that holds the caller's pointers, and only
//! until the call returns. Values of a script name their call by its epoch, so one that was kept
//! is refused instead of followed.

use crate::abi;
use crate::memory;
use rhai::{EvalAltResult, ImmutableString, Position};
use std::cell::{Cell, RefCell};

pub type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// What a call may look at. Pointers are valid while the call runs.
#[derive(Clone, Copy)]
pub struct Frame {
    pub question: Option<*const abi::Question>,
    pub host: abi::Host,
    pub limits: abi::Limits,
}

#[derive(Clone, Copy)]
struct Current {
    epoch: u64,
    frame: Frame,
    held_bytes_at_start: i64,
}

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
    static LAST_EPOCH: Cell<u64> = const { Cell::new(0) };
    static LINE: Cell<u32> = const { Cell::new(0) };
    static LOG: RefCell<Vec<(u32, String)>> = const { RefCell::new(Vec::new()) };
}

/// Ends the call when dropped, also by a panic.
pub struct Running {
    pub epoch: u64,
}

impl Running {
    pub fn start(frame: Frame) -> Running {
        let epoch = LAST_EPOCH.get() + 1;
        LAST_EPOCH.set(epoch);
        LINE.set(0);
        drop(LOG.take());
        CURRENT.set(Some(Current { epoch, frame, held_bytes_at_start: memory::held_bytes() }));
        Running { epoch }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

pub fn script_error<T>(message: impl Into<ImmutableString>) -> Fallible<T> {
    let text: ImmutableString = message.into();
    Err(EvalAltResult::ErrorRuntime(text.into(), Position::NONE).into())
}

/// The question of the call with this epoch, read by `read`.
pub fn with<T>(epoch: u64, read: impl FnOnce(&abi::Question, &abi::Host) -> T) -> Fallible<T> {
    match CURRENT.get() {
        Some(Current {
            epoch: running,
            frame: Frame { question: Some(question), host, .. },
            ..
        }) if running == epoch => {
            // Safe: `question` outlives the call, and CURRENT is cleared when that ends.
            Ok(read(unsafe { &*question }, &host))
        }
        _ => script_error("a job or worker of an earlier call: keep its id instead"),
    }
}

pub fn now_ms() -> i64 {
    CURRENT.get().map_or(0, |current| current.frame.host.now_ms)
}

/// Why a script is stopped.
pub const NO_TIME: i64 = 1;
pub const NO_MEMORY: i64 = 2;

pub fn reason_to_stop() -> Option<i64> {
    let Current { frame, held_bytes_at_start, .. } = CURRENT.get()?;
    if memory::held_bytes() - held_bytes_at_start > frame.limits.memory_bytes as i64 {
        return Some(NO_MEMORY);
    }
    frame.host.is_over.is_some_and(|ask| ask(frame.host.context)).then_some(NO_TIME)
}

/// Where in the script the last choice was made.
pub fn note_line(position: Position) {
    if let Some(line) = position.line() {
        LINE.set(line as u32);
    }
}

pub fn noted_line() -> u32 {
    LINE.get()
}

/// At most `bytes` of `text`, cut between characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

pub fn log(level: u32, text: &str) {
    let Some(current) = CURRENT.get() else { return };
    LOG.with_borrow_mut(|lines| {
        if lines.len() < current.frame.limits.log_lines as usize {
            lines.push((level, cut(text, current.frame.limits.log_line_bytes as usize).to_owned()));
        }
    });
}

/// Bytes that the lines so far take up.
pub fn log_bytes() -> usize {
    LOG.with_borrow(|lines| {
        let texts: usize = lines.iter().map(|(_, text)| text.capacity()).sum();
        lines.capacity() * std::mem::size_of::<(u32, String)>() + texts
    })
}

pub fn take_log() -> Vec<(u32, String)> {
    LOG.take()
}
