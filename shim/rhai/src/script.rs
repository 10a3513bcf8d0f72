//! One compiled script: its engine, its functions, and how their results become answers.

use crate::abi;
use crate::call::{self, Frame, Running};
use crate::engine;
use crate::memory;
use crate::values::{workers_of, Decision, Job, JobError, Worker, WorkerList};
use rhai::{ASTNode, Caches, Dynamic, Engine, EvalAltResult, FnPtr, Position, Scope, Stmt, AST};
use std::cell::Cell;
use std::collections::HashMap;

/// A hook that the script defines.
struct Defined {
    parameters: Vec<String>,
    body: Vec<Stmt>,
    line: u32,
}

struct Hook {
    bit: u32,
    name: &'static str,
    parameters: &'static [&'static str],
}

const HOOKS: [Hook; 3] = [
    Hook { bit: abi::SCHEDULE_JOB, name: "schedule_job", parameters: &["job", "workers"] },
    Hook { bit: abi::SHOULD_ADMIT, name: "should_admit", parameters: &["job", "queue_depth"] },
    Hook { bit: abi::SHOULD_RETRY, name: "should_retry", parameters: &["job", "attempt", "error"] },
];

pub struct Script {
    engine: Engine,
    functions: AST,
    limits: abi::Limits,
    /// In the order of HOOKS.
    defined: [Option<Defined>; 3],
    /// By all calls so far: closures that hold each other are never freed.
    left_behind_bytes: Cell<i64>,
}

/// A failure as the caller learns of it.
pub struct Failure {
    pub error: u32,
    pub message: String,
    pub position: Position,
}

impl Failure {
    fn bytes(&self) -> usize {
        self.message.capacity()
    }
}

pub enum Choice {
    BuiltIn,
    Worker(u32),
    Wait,
    Reject(String),
    Yes,
    No,
}

pub struct Decided {
    pub choice: Choice,
    pub line: u32,
}

impl Decided {
    fn bytes(&self) -> usize {
        match &self.choice {
            Choice::Reject(reason) => reason.capacity(),
            _ => 0,
        }
    }
}

impl From<Box<EvalAltResult>> for Failure {
    fn from(error: Box<EvalAltResult>) -> Failure {
        // The innermost one: where it happened, not through which calls.
        let mut inner = *error;
        let mut position = inner.position();
        while let EvalAltResult::ErrorInFunctionCall(_, _, next, _) = inner {
            inner = *next;
            if !inner.position().is_none() {
                position = inner.position();
            }
        }
        let kind = match &inner {
            EvalAltResult::ErrorParsing(..) => abi::SYNTAX,
            EvalAltResult::ErrorTooManyOperations(..) => abi::OPERATIONS,
            EvalAltResult::ErrorTerminated(why, _) if why.as_int() == Ok(call::NO_MEMORY) => {
                abi::SIZE
            }
            EvalAltResult::ErrorTerminated(..) => abi::TIME,
            EvalAltResult::ErrorDataTooLarge(..) | EvalAltResult::ErrorTooManyVariables(..) => {
                abi::SIZE
            }
            EvalAltResult::ErrorStackOverflow(..) => abi::DEPTH,
            EvalAltResult::ErrorRuntime(..) => abi::THROWN,
            _ => abi::RUNTIME,
        };
        let message = match &inner {
            EvalAltResult::ErrorRuntime(thrown, _) => thrown.to_string(),
            EvalAltResult::ErrorTerminated(..) if kind == abi::SIZE => {
                "it took too much memory".to_owned()
            }
            EvalAltResult::ErrorTerminated(..) => "it ran for too long".to_owned(),
            _ => {
                inner.set_position(Position::NONE); // told beside the message
                inner.to_string()
            }
        };
        Failure { error: kind, message, position }
    }
}

fn syntax(error: rhai::ParseError) -> Failure {
    Failure { error: abi::SYNTAX, message: error.0.to_string(), position: error.1 }
}

fn refusal(error: u32, message: String, line: u32) -> Failure {
    let position =
        if line == 0 { Position::NONE } else { Position::new(line.min(0xFFFF) as u16, 1) };
    Failure { error, message, position }
}

/// Whether a closure shares state with `value`, which would then live on from call to call.
fn is_shared(value: &Dynamic) -> bool {
    if value.is_shared() {
        return true;
    }
    if let Some(pointer) = value.read_lock::<FnPtr>() {
        return pointer.iter_curry().any(is_shared);
    }
    if let Some(items) = value.read_lock::<rhai::Array>() {
        return items.iter().any(is_shared);
    }
    value.read_lock::<rhai::Map>().is_some_and(|map| map.values().any(is_shared))
}

impl Script {
    pub fn compile(
        source: &str,
        limits: &abi::Limits,
        host: &abi::Host,
    ) -> Result<Script, Failure> {
        if limits.has_zero() {
            return Err(refusal(abi::RUNTIME, "a limit of 0".to_owned(), 0));
        }
        let _running = Running::start(Frame { question: None, host: *host, limits: *limits });
        let mut engine = engine::make(limits);
        let globals = evaluate_globals(&mut engine, source)?;
        // Now that the script's own constants are known, any other unknown name is a mistake.
        engine.set_strict_variables(true);
        let mut functions = engine.compile_with_scope(&globals, source).map_err(syntax)?;
        functions.clear_statements();
        let defined = [
            find_hook(&functions, &HOOKS[0])?,
            find_hook(&functions, &HOOKS[1])?,
            find_hook(&functions, &HOOKS[2])?,
        ];
        Ok(Script { engine, functions, limits: *limits, defined, left_behind_bytes: Cell::new(0) })
    }

    /// The bits of the hooks that the script defines.
    pub fn hooks(&self) -> u32 {
        HOOKS
            .iter()
            .zip(&self.defined)
            .filter(|(_, it)| it.is_some())
            .map(|(hook, _)| hook.bit)
            .sum()
    }

    pub fn ask(&self, question: &abi::Question) -> Result<Decided, Failure> {
        let hooks = HOOKS.iter().zip(&self.defined);
        let found = hooks.filter_map(|(hook, it)| it.as_ref().map(|it| (hook, it)));
        let Some((hook, defined)) = found.into_iter().find(|(hook, _)| hook.bit == question.hook)
        else {
            return Err(refusal(abi::RUNTIME, "the script has no such hook".to_owned(), 0));
        };
        if question.job.is_null() {
            return Err(refusal(abi::RUNTIME, "a question without a job".to_owned(), 0));
        }
        if self.left_behind_bytes.get() > self.limits.memory_bytes as i64 {
            let message = "its closures hold each other, so their memory is never freed";
            return Err(refusal(abi::SIZE, message.to_owned(), defined.line));
        }
        let held_bytes = memory::held_bytes();
        let decided = self.decide(hook, defined, question);
        let told_bytes =
            decided.as_ref().map_or_else(Failure::bytes, Decided::bytes) + call::log_bytes();
        let left = memory::held_bytes() - held_bytes - told_bytes as i64;
        self.left_behind_bytes.set(self.left_behind_bytes.get() + left);
        decided
    }

    fn decide(
        &self,
        hook: &Hook,
        defined: &Defined,
        question: &abi::Question,
    ) -> Result<Decided, Failure> {
        let frame = Frame { question: Some(question), host: question.host, limits: self.limits };
        let running = Running::start(frame);
        let result = self.run(defined, question, running.epoch)?;
        let line = match call::noted_line() {
            0 => defined.line,
            line => line,
        };
        let choice = self
            .choice(question, running.epoch, result.flatten())
            .map_err(|got| refusal(abi::NONSENSE, format!("{} answered {got}", hook.name), line))?;
        Ok(Decided { choice, line })
    }

    /// Runs the statements of the hook instead of calling it: an error that no script can catch
    /// loses its place on its way out of a call.
    fn run(
        &self,
        defined: &Defined,
        question: &abi::Question,
        epoch: u64,
    ) -> Result<Dynamic, Failure> {
        let job = Dynamic::from(Job { epoch });
        let workers = || Dynamic::from(WorkerList::all(epoch, question.workers_count));
        let arguments = match question.hook {
            abi::SCHEDULE_JOB => vec![job, workers()],
            abi::SHOULD_ADMIT => vec![job, Dynamic::from(question.queue_depth)],
            _ => vec![job, Dynamic::from(question.attempt), Dynamic::from(JobError { epoch })],
        };
        let mut scope = Scope::new();
        for (name, value) in defined.parameters.iter().zip(arguments) {
            scope.push_dynamic(name.as_str(), value);
        }
        let mut global = self.engine.new_global_runtime_state();
        global.lib.push(self.functions.shared_lib().clone());
        let mut caches = Caches::new();
        #[allow(deprecated)] // its replacement takes whole scripts only
        let result =
            self.engine.eval_statements_raw(&mut global, &mut caches, &mut scope, &defined.body);
        result.map_err(Failure::from)
    }

    /// What a result means; an error says what it was instead.
    fn choice(
        &self,
        question: &abi::Question,
        epoch: u64,
        result: Dynamic,
    ) -> Result<Choice, String> {
        if result.is_unit() {
            return Ok(Choice::BuiltIn);
        }
        let schedules = question.hook == abi::SCHEDULE_JOB;
        if let Some(decision) = result.read_lock::<Decision>() {
            return match &*decision {
                Decision::Reject(reason) if question.hook != abi::SHOULD_RETRY => Ok(
                    Choice::Reject(call::cut(reason, self.limits.reason_bytes as usize).to_owned()),
                ),
                Decision::Wait if schedules => Ok(Choice::Wait),
                _ => Err("with a decision that only schedule_job can make".to_owned()),
            };
        }
        if let (false, Ok(yes)) = (schedules, result.as_bool()) {
            return Ok(if yes { Choice::Yes } else { Choice::No });
        }
        if let (true, Some(worker)) = (schedules, result.read_lock::<Worker>()) {
            return if worker.epoch == epoch {
                Ok(Choice::Worker(worker.index))
            } else {
                Err("with a worker of an earlier call".to_owned())
            };
        }
        if schedules && result.is_string() {
            return self.worker_named(question, &result.to_string());
        }
        Err(format!("with a value of type {}", self.engine.map_type_name(result.type_name())))
    }

    fn worker_named(&self, question: &abi::Question, id: &str) -> Result<Choice, String> {
        // Safe: the question outlives the call.
        let workers = unsafe { workers_of(question) };
        match workers.iter().position(|worker| unsafe { worker.id.bytes() } == id.as_bytes()) {
            Some(index) => Ok(Choice::Worker(index as u32)),
            None => {
                Err(format!("\"{}\", which is none of the workers offered", call::cut(id, 256)))
            }
        }
    }
}

/// Every use of a constant clones it.
fn cheap_to_clone(value: Dynamic) -> Dynamic {
    if value.is_array() || value.is_map() {
        value.into_read_only().into_shared()
    } else {
        value
    }
}

/// Functions and closures see the constants, unless they have a variable of that name.
fn resolve(engine: &mut Engine, constants: HashMap<String, Dynamic>) {
    #[allow(deprecated)] // it is not, says its documentation: it may change
    engine.on_var(move |name, index, context| {
        if index > 0 || context.scope().contains(name) {
            return Ok(None);
        }
        Ok(constants.get(name).cloned())
    });
}

/// Runs what stands outside of functions; its values become constants that every function sees.
fn evaluate_globals(engine: &mut Engine, source: &str) -> Result<Scope<'static>, Failure> {
    let everything = engine.compile(source).map_err(syntax)?;
    let mut scope = Scope::new();
    engine.run_ast_with_scope(&mut scope, &everything)?;
    let mut constants = HashMap::new();
    for (name, _, value) in scope.iter_raw() {
        if is_shared(value) {
            let message = format!(
                "'{name}' is changed by a closure: a policy keeps nothing from call to call"
            );
            return Err(refusal(abi::SYNTAX, message, 0));
        }
        constants.insert(name.to_owned(), cheap_to_clone(value.clone()));
    }
    resolve(engine, constants);
    Ok(scope)
}

/// Errors: the hook with the wrong number of parameters, which would silently never be asked.
fn find_hook(functions: &AST, hook: &Hook) -> Result<Option<Defined>, Failure> {
    let mut named = functions.iter_fn_def().filter(|function| function.name == hook.name);
    let Some(function) = named.next() else {
        return Ok(None);
    };
    let line = function.body.start_position().line().unwrap_or(0) as u32;
    if named.next().is_some() {
        return Err(refusal(abi::SYNTAX, format!("{} is defined twice", hook.name), line));
    }
    if function.params.len() != hook.parameters.len() {
        let wanted = hook.parameters.join(", ");
        return Err(refusal(abi::SYNTAX, format!("{} takes ({wanted})", hook.name), line));
    }
    let mut body = Vec::new();
    let mut alone = functions.clone_functions_only();
    alone.retain_functions(|_, _, name, _| name == hook.name);
    alone.walk(&mut |path| {
        if let [ASTNode::Stmt(statement)] = path {
            body.push((*statement).clone());
        }
        true
    });
    let parameters = function.params.iter().map(|name| name.to_string()).collect();
    Ok(Some(Defined { parameters, body, line }))
}
