//! Datagrams over loopback, in every way that they may be sent.

use super::*;

fn on_worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

fn bound(address: &str) -> DatagramSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    DatagramSocket::new(socket).unwrap()
}

/// Receives so many datagrams.
async fn receive(socket: &DatagramSocket, count: usize) -> Vec<Vec<u8>> {
    let inbox = RefCell::new(Inbox::default());
    let mut datagrams = Vec::new();
    while datagrams.len() < count {
        let runs = socket.receive(&inbox).await;
        for index in 0..runs.unwrap() {
            let inbox = inbox.borrow();
            let run = inbox.run(index).unwrap();
            datagrams.extend(run.datagrams().map(<[u8]>::to_vec));
        }
    }
    datagrams
}

#[test]
fn datagrams_are_never_merged_or_split() {
    on_worker(async {
        let listener = bound("127.0.0.1:0");
        let client = listener.connect(listener.local_addr().unwrap()).unwrap();
        // Length of each, bytes in all: one, a run, a run with a short end, more than a run takes, larger than a frame.
        let rows = [
            (10, 10),
            (100, 1600),
            (100, 1550),
            (1200, 70_000),
            (5000, 17_000),
        ];
        for (segment, length) in rows {
            for is_joining in [false, true] {
                if is_joining {
                    client.join();
                }
                let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
                let expected: Vec<_> = bytes.chunks(segment).map(<[u8]>::to_vec).collect();
                client.send(&bytes, segment).unwrap();
                assert_eq!(
                    receive(&listener, expected.len()).await,
                    expected,
                    "{segment}"
                );
                let to = client.local_addr().unwrap();
                let route = Route { to, from: None };
                listener.send_to(route, &bytes, segment).unwrap();
                assert_eq!(
                    receive(&client, expected.len()).await,
                    expected,
                    "{segment}"
                );
            }
        }
    });
}

#[test]
fn runs_go_out_in_batches_where_the_kernel_cannot_cut_them() {
    on_worker(async {
        let listener = bound("127.0.0.1:0");
        let client = listener.connect(listener.local_addr().unwrap()).unwrap();
        let bytes = vec![7; 333 * 40 + 1];
        let expected: Vec<_> = bytes.chunks(333).map(<[u8]>::to_vec).collect();
        let route = |to| Route { to, from: None };
        client
            .send_each(route(listener.local_addr().unwrap()), &bytes, 333, true)
            .unwrap();
        assert_eq!(receive(&listener, 41).await, expected);
        listener
            .send_each(route(client.local_addr().unwrap()), &bytes, 333, false)
            .unwrap();
        assert_eq!(receive(&client, 41).await, expected);
    });
}

#[test]
fn empty_datagrams_are_datagrams() {
    on_worker(async {
        let listener = bound("127.0.0.1:0");
        let client = listener.connect(listener.local_addr().unwrap()).unwrap();
        client.send(&[], 0).unwrap();
        assert_eq!(receive(&listener, 1).await, [Vec::<u8>::new()]);
        let to = client.local_addr().unwrap();
        listener.send_to(Route { to, from: None }, &[], 0).unwrap();
        assert_eq!(receive(&client, 1).await, [Vec::<u8>::new()]);
    });
}

/// A machine has many addresses; a client takes an answer from the one that it has asked only.
#[test]
fn answers_come_from_the_address_that_was_asked() {
    on_worker(async {
        let listener = bound("0.0.0.0:0");
        let port = listener.local_addr().unwrap().port();
        let client = listener.connect(([127, 0, 0, 5], port).into()).unwrap();
        client.send(b"?", 1).unwrap();
        let inbox = RefCell::new(Inbox::default());
        listener.receive(&inbox).await.unwrap();
        let route = {
            let inbox = inbox.borrow();
            let run = inbox.run(0).unwrap();
            assert_eq!(run.to, Some([127, 0, 0, 5].into()));
            Route {
                to: run.from,
                from: run.to,
            }
        };
        listener.send_to(route, b"!!??", 2).unwrap();
        assert_eq!(receive(&client, 2).await, [b"!!", b"??"]);
        listener.send_to(route, b"!", 1).unwrap();
        assert_eq!(receive(&client, 1).await, [b"!"]);
    });
}

#[test]
fn what_the_network_says_is_an_error() {
    on_worker(async {
        let closed = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let client = bound("127.0.0.1:0").connect(closed).unwrap();
        client.send(b"?", 1).unwrap();
        let inbox = RefCell::new(Inbox::default());
        let error = client.receive(&inbox).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}
