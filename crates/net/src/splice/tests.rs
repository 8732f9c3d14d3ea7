//! Directions between real sockets on loopback.

use std::future::poll_fn;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;
use crate::is_reset;

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

async fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap().into(), far.unwrap().0.into())
}

fn unix_pair() -> (Stream, Stream) {
    let (near, far) = UnixStream::pair().unwrap();
    (near.into(), far.into())
}

async fn move_all(
    direction: &mut SpliceDirection,
    from: &Stream,
    to: &mut Stream,
) -> Result<(), SpliceError> {
    poll_fn(|cx| direction.poll(cx, from, to)).await?;
    poll_fn(|cx| to.poll_shutdown(cx)).await.unwrap();
    Ok(())
}

async fn send(stream: &mut Stream, total: usize) {
    let data: Vec<u8> = (0..total).map(|at| (at / 7 % 251) as u8).collect();
    stream.write_all(&data).await.unwrap();
    poll_fn(|cx| stream.poll_shutdown(cx)).await.unwrap();
}

async fn receive(stream: &mut Stream) -> BytesMut {
    let mut all = BytesMut::new();
    let mut piece = BytesMut::new();
    while stream.read(&mut piece).await.unwrap() > 0 {
        all.extend_from_slice(&piece);
        piece.clear();
    }
    all
}

#[test]
fn bytes_arrive_whole_and_in_order() {
    let sizes = [0, 1, 300, 70_000, 5_000_000];
    for size in sizes {
        for kinds in ["tcp to tcp", "tcp to unix", "unix to tcp"] {
            run(async {
                let (mut client, from) = if kinds.starts_with("tcp") {
                    tcp_pair().await
                } else {
                    unix_pair()
                };
                let (mut to, mut server) = if kinds.ends_with("tcp") {
                    tcp_pair().await
                } else {
                    unix_pair()
                };
                let mut direction = SpliceDirection::new();
                let ((), moved, got) = tokio::join!(
                    send(&mut client, size),
                    move_all(&mut direction, &from, &mut to),
                    receive(&mut server)
                );
                moved.unwrap();
                assert_eq!(direction.moved(), size as u64, "{kinds} {size}");
                assert_eq!(got.len(), size, "{kinds} {size}");
                let right = got
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == (at / 7 % 251) as u8);
                assert!(right, "{kinds} {size}");
            });
        }
    }
}

#[test]
fn one_byte_at_a_time_and_no_pipe_while_idle() {
    run(async {
        let (mut client, from) = tcp_pair().await;
        let (to, mut server) = tcp_pair().await;
        let mut direction = SpliceDirection::new();
        for count in 1..=20_u64 {
            client.write_all(b"x").await.unwrap();
            let mut input = BytesMut::new();
            poll_fn(|cx| {
                assert!(direction.poll(cx, &from, &to).is_pending());
                server.poll_read(cx, &mut input)
            })
            .await
            .unwrap();
            assert_eq!(&input[..], b"x");
            assert_eq!(direction.moved(), count);
            assert!(direction.pipe.is_none());
        }
        assert_eq!(Pipe::kept(), 1);
    });
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    run(async {
        let (mut client, from) = tcp_pair().await;
        let (mut to, mut server) = tcp_pair().await;
        let mut direction = SpliceDirection::new();
        let size = 8 * 1024 * 1024;
        let ((), got) = tokio::join!(
            async {
                // The receiver does not read before the sender is stuck.
                tokio::join!(send(&mut client, size), async {
                    move_all(&mut direction, &from, &mut to).await.unwrap();
                });
            },
            async {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                receive(&mut server).await
            }
        );
        assert_eq!(got.len(), size);
    });
}

#[test]
fn resets_name_their_side() {
    run(async {
        let (client, from) = tcp_pair().await;
        let (mut to, _server) = tcp_pair().await;
        client.abort();
        let result = move_all(&mut SpliceDirection::new(), &from, &mut to).await;
        assert!(matches!(result, Err(SpliceError::Read(error)) if is_reset(&error)));

        let (mut client, from) = tcp_pair().await;
        let (mut to, server) = tcp_pair().await;
        server.abort();
        poll_fn(|cx| to.poll_read_ready(cx)).await.unwrap();
        client.write_all(b"lost").await.unwrap();
        let result = move_all(&mut SpliceDirection::new(), &from, &mut to).await;
        assert!(matches!(result, Err(SpliceError::Write(error)) if is_reset(&error)));
    });
}

#[test]
fn a_pipe_with_bytes_in_it_is_not_kept() {
    run(async {
        let (mut client, from) = tcp_pair().await;
        let (to, _server) = tcp_pair().await;
        client.write_all(b"secret").await.unwrap();
        let mut direction = SpliceDirection::new();
        poll_fn(|cx| direction.poll_fill(cx, &from)).await.unwrap();
        assert_eq!(direction.buffered, 6);
        drop(direction);
        assert_eq!(Pipe::kept(), 0);
        drop(to);
    });
}
