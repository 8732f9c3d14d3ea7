use super::*;

/// Commands with numbers from the first on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbered {
    first: u32,
    run: u32,
}

impl Waiting for Numbered {
    fn run(&self) -> u32 {
        self.run
    }

    fn split_first(&mut self) -> Option<Self> {
        let first = (self.run > 1).then_some(Self {
            first: self.first,
            run: 0,
        })?;
        self.pass(1);
        Some(first)
    }

    fn pass(&mut self, count: u32) {
        self.first += count;
        self.run -= count;
    }
}

fn seen_of(delivery: &Delivery<'_, Numbered>) -> Vec<String> {
    match delivery {
        Delivery::Last(Numbered { first, .. }, Piece::Whole { kind, .. }) => {
            vec![format!("{first} {kind:?}")]
        }
        Delivery::Last(Numbered { first, .. }, _) => vec![format!("{first} end")],
        Delivery::Run(Numbered { first, .. }, replies, bytes) => {
            let len: u32 = replies.iter().map(|reply| reply.len).sum();
            assert_eq!(len as usize, bytes.len());
            let numbered = (*first..).zip(*replies);
            numbered
                .map(|(number, reply)| format!("{number} {:?}", reply.kind))
                .collect()
        }
        Delivery::Part(Numbered { first, .. }, Piece::Begin { kind, .. }) => {
            vec![format!("{first} begins {kind:?}")]
        }
        Delivery::Part(..) => Vec::new(),
        Delivery::Push(_) => vec!["push".to_owned()],
    }
}

/// What is seen of replies that come in pieces of so many bytes, to runs of so many commands.
fn play(wire: &[u8], runs: &[u32], cut: usize) -> (Vec<String>, Result<(), PipelineError>) {
    let limits = ReplyLimits {
        whole: 64,
        ..ReplyLimits::default()
    };
    let mut pipeline = Pipeline::new(limits);
    let mut first = 0;
    for &run in runs {
        pipeline.expect(Numbered { first, run });
        first += run.max(1);
    }
    assert_eq!(pipeline.len(), first as usize);
    let mut seen = Vec::new();
    let mut src = BytesMut::new();
    for bytes in wire.chunks(cut) {
        src.extend_from_slice(bytes);
        let result = pipeline.on_bytes(&mut src, |delivery| seen.extend(seen_of(&delivery)));
        if result.is_err() {
            return (seen, result);
        }
    }
    let answered = seen
        .iter()
        .filter(|it| !it.contains("begins") && *it != "push");
    assert_eq!(pipeline.len(), first as usize - answered.count());
    (seen, Ok(()))
}

fn run(wire: &[u8], commands: u32) -> (Vec<String>, Result<(), PipelineError>) {
    play(wire, &vec![0; commands as usize], 1)
}

#[test]
fn runs_say_what_commands_by_themselves_do() {
    let large = format!("$100\r\n{}\r\n", "x".repeat(100));
    let parts: [&[u8]; 9] = [
        b"+OK\r\n",
        b"$3\r\nabc\r\n",
        b"-ERR no\r\n",
        b":5\r\n",
        b">1\r\n+m\r\n",
        large.as_bytes(),
        b"*2\r\n:1\r\n:2\r\n",
        b"$-1\r\n",
        b"+OK\r\n",
    ];
    let wire = parts.concat();
    let (expected, result) = play(&wire, &[0; 8], 1);
    assert_eq!(result, Ok(()));
    let tables: [(&str, &[u32]); 5] = [
        ("one run", &[8]),
        ("runs of one", &[1; 8]),
        ("an error ends a run", &[3, 5]),
        ("a large reply begins a run", &[4, 4]),
        ("mixed", &[2, 0, 3, 0, 1]),
    ];
    for (name, runs) in tables {
        for cut in 1..=wire.len() {
            assert_eq!(
                play(&wire, runs, cut),
                (expected.clone(), Ok(())),
                "{name}, {cut}"
            );
        }
    }
    let many = b"+OK\r\n".repeat(100);
    let (seen, result) = play(&many, &[99], many.len());
    assert_eq!((seen.len(), result), (99, Err(PipelineError::Unasked)));
}

#[test]
fn replies_find_their_commands() {
    let large = format!("$100\r\n{}\r\n", "x".repeat(100));
    let wire = [b"+OK\r\n>1\r\n+m\r\n", large.as_bytes(), b":1\r\n"].concat();
    let (seen, result) = run(&wire, 3);
    let expected = ["0 Simple", "push", "1 begins Bulk", "1 end", "2 Integer"];
    assert_eq!(seen, expected);
    assert_eq!(result, Ok(()));
}

#[test]
fn a_reply_too_many_ends_it() {
    let (seen, result) = run(b"+OK\r\n+OK\r\n", 1);
    assert_eq!(seen, ["0 Simple"]);
    assert_eq!(result, Err(PipelineError::Unasked));
    let large = format!("$100\r\n{}\r\n", "x".repeat(100));
    assert_eq!(run(large.as_bytes(), 0).1, Err(PipelineError::Unasked));
}
