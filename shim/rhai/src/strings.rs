//! The functions of strings whose results can be far larger than what goes in. Rhai checks the
//! size of a result when it is there: too late for gigabytes of memory, or for the time it takes.
//! These stop at the limit.

use crate::abi::Limits;
use crate::call::Fallible;
use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Position, INT};

fn too_large<T>(what: &str) -> Fallible<T> {
    Err(EvalAltResult::ErrorDataTooLarge(what.to_owned(), Position::NONE).into())
}

fn collect<T: Into<Dynamic>>(items: impl Iterator<Item = T>, items_max: usize) -> Fallible<Array> {
    let mut array = Array::new();
    for item in items {
        if array.len() == items_max {
            return too_large("Size of array/BLOB");
        }
        array.push(item.into());
    }
    Ok(array)
}

fn replaced(text: &str, find: &str, with: &str, bytes_max: usize) -> Fallible<ImmutableString> {
    let mut result = String::new();
    let mut copied = 0;
    for (at, found) in text.match_indices(find) {
        result.push_str(&text[copied..at]);
        result.push_str(with);
        if result.len() > bytes_max {
            return too_large("Length of string");
        }
        copied = at + found.len();
    }
    result.push_str(&text[copied..]);
    Ok(result.into())
}

/// For a string, a character, and both as the thing to find.
macro_rules! register_replace {
    ($engine:expr, $bytes_max:expr, $(($find:ty, $with:ty)),*) => {
        $($engine.register_fn(
            "replace",
            move |text: &mut ImmutableString, find: $find, with: $with| -> Fallible<()> {
                *text = replaced(text, &find.to_string(), &with.to_string(), $bytes_max)?;
                Ok(())
            },
        );)*
    };
}

type Text<'a> = &'a mut ImmutableString;

macro_rules! register_split {
    ($engine:expr, $items_max:expr, $by:ty) => {
        $engine.register_fn("split", move |text: Text, by: $by| {
            collect(text.split(by.to_string().as_str()), $items_max)
        });
        $engine.register_fn("split_rev", move |text: Text, by: $by| {
            collect(text.rsplit(by.to_string().as_str()), $items_max)
        });
        $engine.register_fn("split", move |text: Text, by: $by, segments: INT| {
            collect(text.splitn(segments_of(segments), by.to_string().as_str()), $items_max)
        });
        $engine.register_fn("split_rev", move |text: Text, by: $by, segments: INT| {
            collect(text.rsplitn(segments_of(segments), by.to_string().as_str()), $items_max)
        });
    };
}

fn segments_of(wanted: INT) -> usize {
    usize::try_from(wanted).unwrap_or(1).max(1)
}

pub fn register(engine: &mut Engine, limits: &Limits) {
    let bytes_max = limits.string_bytes as usize;
    let items_max = limits.elements as usize;
    register_replace!(
        engine,
        bytes_max,
        (ImmutableString, ImmutableString),
        (ImmutableString, char),
        (char, ImmutableString),
        (char, char)
    );
    register_split!(engine, items_max, ImmutableString);
    register_split!(engine, items_max, char);
    engine.register_fn("split", move |text: Text| collect(text.split_whitespace(), items_max));
    engine.register_fn("to_chars", move |text: Text| collect(text.chars(), items_max));
}
