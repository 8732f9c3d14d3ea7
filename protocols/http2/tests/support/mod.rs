//! Frames in words and as generated values, for vectors, laws and fuzz bodies alike.
//!
//! Start at [`words`].

#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs

use std::fmt::Write as _;

use portcullis_http2::frame::{Frame, Priority};

/// One line about a frame: everything that it says, and where the content is long, only how long.
pub fn words(frame: &Frame) -> String {
    let mut line = format!("{} {}", frame.kind().label(), frame.stream().number());
    let text = &mut line;
    match frame {
        Frame::Data(data) => {
            flag(text, data.end_stream, "end_stream");
            padding(text, data.padding);
            bytes(text, &data.data);
        }
        Frame::Headers(headers) => {
            flag(text, headers.end_stream, "end_stream");
            flag(text, headers.end_headers, "end_headers");
            padding(text, headers.padding);
            if let Some(priority) = headers.priority {
                dependency(text, priority);
            }
            bytes(text, &headers.block);
        }
        Frame::Priority(_, priority) => dependency(text, *priority),
        Frame::Reset(reset) => put(text, reset.code.label()),
        Frame::Settings(settings) => {
            flag(text, settings.ack, "ack");
            for (setting, value) in settings.iter() {
                put(text, format!("{}={value}", setting.0));
            }
        }
        Frame::PushPromise(promise) => {
            put(text, format!("promised={}", promise.promised.number()));
            flag(text, promise.end_headers, "end_headers");
            padding(text, promise.padding);
            bytes(text, &promise.block);
        }
        Frame::Ping(ping) => {
            flag(text, ping.ack, "ack");
            bytes(text, &ping.payload);
        }
        Frame::GoAway(goaway) => {
            put(text, format!("last={}", goaway.last_stream.number()));
            put(text, goaway.code.label());
            bytes(text, &goaway.debug);
        }
        Frame::WindowUpdate(update) => put(text, format!("+{}", update.increment)),
        Frame::Continuation(continuation) => {
            flag(text, continuation.end_headers, "end_headers");
            bytes(text, &continuation.block);
        }
        Frame::Unknown(unknown) => {
            put(text, format!("kind={:#x}", unknown.kind));
            put(text, format!("flags={:#x}", unknown.flags));
            bytes(text, &unknown.payload);
        }
    }
    line
}

fn put(text: &mut String, word: impl AsRef<str>) {
    let _ = write!(text, " {}", word.as_ref());
}

fn flag(text: &mut String, set: bool, word: &str) {
    if set {
        put(text, word);
    }
}

fn padding(text: &mut String, padding: u16) {
    if padding > 0 {
        put(text, format!("padding={padding}"));
    }
}

fn dependency(text: &mut String, priority: Priority) {
    let on = priority.dependency.number();
    put(text, format!("on={on} weight={}", priority.weight));
    flag(text, priority.exclusive, "exclusive");
}

fn bytes(text: &mut String, bytes: &[u8]) {
    if bytes.len() > 40 {
        put(text, format!("({} bytes)", bytes.len()));
    } else {
        put(text, format!("\"{}\"", bytes.escape_ascii()));
    }
}
