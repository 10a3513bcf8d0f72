//! The structs of llorch_rhai.h, field by field, and how texts are read and given.

use std::borrow::Cow;
use std::os::raw::c_void;

pub const ABI: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    bytes: *const u8,
    length: usize,
}

impl Text {
    pub const EMPTY: Text = Text { bytes: std::ptr::null(), length: 0 };

    /// Valid as long as `text` is.
    pub fn of(text: &str) -> Text {
        Text { bytes: text.as_ptr(), length: text.len() }
    }

    /// # Safety
    /// The bytes must be readable while the result lives.
    pub unsafe fn bytes<'a>(&self) -> &'a [u8] {
        if self.bytes.is_null() || self.length == 0 {
            return &[];
        }
        std::slice::from_raw_parts(self.bytes, self.length)
    }

    /// # Safety
    /// As `bytes`. What is not UTF-8 becomes U+FFFD.
    pub unsafe fn read<'a>(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes())
    }
}

#[repr(C)]
pub struct Job {
    pub id: Text,
    pub model: Text,
    pub priority: Text,
    pub tenant: Text,
    pub session_id: Text,
    pub prompt_tokens_estimate: i64,
    pub max_tokens: i64,
    pub age_ms: i64,
    pub attempt: i64,
    pub temperature: f64,
}

#[repr(C)]
pub struct Worker {
    pub id: Text,
    pub host: Text,
    pub model: Text,
    pub backend: Text,
    pub status: Text,
    pub slots_total: i64,
    pub slots_free: i64,
    pub queue_depth: i64,
    pub cached_tokens: i64,
    pub memory_free_bytes: i64,
    pub cost_ms: f64,
    pub prefill_tokens_per_second: f64,
    pub decode_tokens_per_second: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limits {
    pub operations: u64,
    pub memory_bytes: u64,
    pub string_bytes: u32,
    pub elements: u32,
    pub call_depth: u32,
    pub expression_depth: u32,
    pub variables: u32,
    pub functions: u32,
    pub log_lines: u32,
    pub log_line_bytes: u32,
    pub reason_bytes: u32,
}

impl Limits {
    /// Rhai takes 0 for "as much as it likes".
    pub fn has_zero(&self) -> bool {
        let small = [
            self.string_bytes,
            self.elements,
            self.call_depth,
            self.expression_depth,
            self.variables,
            self.functions,
        ];
        self.operations == 0 || self.memory_bytes == 0 || small.contains(&0)
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    pub context: *mut c_void,
    pub now_ms: i64,
    pub is_over: Option<extern "C" fn(*mut c_void) -> bool>,
    pub last_turn: Option<extern "C" fn(*mut c_void, usize) -> u64>,
}

pub const SCHEDULE_JOB: u32 = 1;
pub const SHOULD_ADMIT: u32 = 2;
pub const SHOULD_RETRY: u32 = 4;

#[repr(C)]
pub struct Question {
    pub hook: u32,
    pub attempt: i64,
    pub queue_depth: i64,
    pub job: *const Job,
    pub workers: *const Worker,
    pub workers_count: usize,
    pub error_kind: Text,
    pub error_code: Text,
    pub error_message: Text,
    pub host: Host,
}

pub const BUILT_IN: u32 = 0;
pub const WORKER: u32 = 1;
pub const WAIT: u32 = 2;
pub const REJECT: u32 = 3;
pub const YES: u32 = 4;
pub const NO: u32 = 5;
pub const FAILED: u32 = 6;

pub const OK: u32 = 0;
pub const SYNTAX: u32 = 1;
pub const RUNTIME: u32 = 2;
pub const THROWN: u32 = 3;
pub const OPERATIONS: u32 = 4;
pub const TIME: u32 = 5;
pub const SIZE: u32 = 6;
pub const DEPTH: u32 = 7;
pub const NONSENSE: u32 = 8;
pub const PANIC: u32 = 9;

#[repr(C)]
pub struct LogLine {
    pub level: u32,
    pub text: Text,
}

#[repr(C)]
pub struct Answer {
    pub kind: u32,
    pub error: u32,
    pub line: u32,
    pub column: u32,
    pub hooks: u32,
    pub worker: u64,
    pub text: Text,
    pub log: *const LogLine,
    pub log_count: usize,
}
