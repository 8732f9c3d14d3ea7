//! Streams over real sockets on loopback.

use std::future::poll_fn;

use tokio::net::TcpListener;

use super::*;

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

async fn both_pairs() -> [(&'static str, (Stream, Stream)); 2] {
    [("tcp", tcp_pair().await), ("unix", unix_pair())]
}

#[test]
fn small_reads_get_an_allocation_of_their_size() {
    run(async {
        for (name, (mut near, mut far)) in both_pairs().await {
            far.write_all(b"hello").await.unwrap();
            let mut input = BytesMut::new();
            assert_eq!(near.read(&mut input).await.unwrap(), 5, "{name}");
            assert_eq!(&input[..], b"hello", "{name}");
            assert!(input.capacity() < 64, "{name}: {}", input.capacity());
            far.write_all(b" world").await.unwrap();
            near.read(&mut input).await.unwrap();
            assert_eq!(&input[..], b"hello world", "{name}");
        }
    });
}

#[test]
fn short_reads_share_a_block_and_give_it_back() {
    run(async {
        let (mut near, mut far) = unix_pair();
        let mut addresses = Vec::new();
        let mut kept = BytesMut::new();
        for number in 0..100_u8 {
            far.write_all(&[number; 300]).await.unwrap();
            let mut input = BytesMut::new();
            assert_eq!(near.read(&mut input).await.unwrap(), 300);
            assert_eq!(input, vec![number; 300]);
            assert_eq!(input.capacity(), 300, "nothing of its neighbours");
            addresses.push(input.as_ptr() as usize);
            // Whoever goes on with a piece does not write over what comes after it.
            kept.extend_from_slice(b"more");
            kept = input;
        }
        addresses.sort_unstable();
        let (first, last) = (addresses[0], addresses[99]);
        assert!(last - first < 100 * 300, "blocks are used again");
    });
}

#[test]
fn large_reads_take_the_buffer_and_give_it_back() {
    run(async {
        let (mut near, mut far) = unix_pair();
        let mut addresses = Vec::new();
        for _ in 0..3 {
            far.write_all(&vec![7; 48 * 1024]).await.unwrap();
            let mut input = BytesMut::new();
            assert_eq!(near.read(&mut input).await.unwrap(), 48 * 1024);
            addresses.push(input.as_ptr());
        }
        assert_eq!(addresses[1], addresses[2], "the buffer is reused");
    });
}

#[test]
fn a_limit_leaves_the_rest_in_the_kernel() {
    run(async {
        let (mut near, mut far) = unix_pair();
        far.write_all(b"abcdef").await.unwrap();
        let rows: [(usize, &[u8]); 4] = [(2, b"ab"), (0, b"c"), (1, b"d"), (usize::MAX, b"ef")];
        for (limit, expected) in rows {
            let mut input = BytesMut::new();
            poll_fn(|cx| near.poll_read_at_most(cx, &mut input, limit))
                .await
                .unwrap();
            assert_eq!(&input[..], expected, "limit {limit}");
        }
    });
}

#[test]
fn half_close_lets_the_other_direction_go_on() {
    run(async {
        for (name, (mut near, mut far)) in both_pairs().await {
            poll_fn(|cx| near.poll_shutdown(cx)).await.unwrap();
            let mut input = BytesMut::new();
            assert_eq!(far.read(&mut input).await.unwrap(), 0, "{name}");
            far.write_all(b"still here").await.unwrap();
            near.read(&mut input).await.unwrap();
            assert_eq!(&input[..], b"still here", "{name}");
            drop(far);
            assert_eq!(near.read(&mut input).await.unwrap(), 0, "{name}");
            poll_fn(|cx| near.poll_shutdown(cx)).await.unwrap();
        }
    });
}

#[test]
fn an_abort_is_seen_as_a_reset() {
    run(async {
        let (near, mut far) = tcp_pair().await;
        near.abort();
        let error = far.read(&mut BytesMut::new()).await.unwrap_err();
        assert!(is_reset(&error), "{error}");
        let (near, mut far) = tcp_pair().await;
        drop(near);
        assert_eq!(far.read(&mut BytesMut::new()).await.unwrap(), 0);
    });
}

#[test]
fn an_idle_connection_is_alive_until_something_comes() {
    run(async {
        for (name, (mut near, mut far)) in both_pairs().await {
            assert!(near.is_alive(), "{name}");
            far.write_all(b"x").await.unwrap();
            poll_fn(|cx| near.poll_read_ready(cx)).await.unwrap();
            assert!(!near.is_alive(), "{name}: unasked data");
            let mut input = BytesMut::new();
            near.try_read_into(&mut input).unwrap();
            assert!(near.is_alive(), "{name}: nothing more");
            drop(far);
            poll_fn(|cx| near.poll_read_ready(cx)).await.unwrap();
            assert!(!near.is_alive(), "{name}: ended");
        }
    });
}

#[test]
fn vectored_writes_keep_order() {
    run(async {
        let (mut near, mut far) = tcp_pair().await;
        let slices = [
            IoSlice::new(b"one "),
            IoSlice::new(b""),
            IoSlice::new(b"two"),
        ];
        let count = poll_fn(|cx| far.poll_write_vectored(cx, &slices))
            .await
            .unwrap();
        assert_eq!(count, 7);
        let mut input = BytesMut::new();
        near.read(&mut input).await.unwrap();
        assert_eq!(&input[..], b"one two");
        let error = near.try_read_into(&mut input).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_writer_waits_for_a_slow_reader() {
    run(async {
        let (mut near, mut far) = unix_pair();
        let data = vec![1_u8; 64 * 1024];
        let mut sent = 0;
        while let Ok(count) = far.try_write(&data) {
            sent += count;
        }
        let mut received = 0;
        let mut input = BytesMut::new();
        while received < sent {
            poll_fn(|cx| near.poll_read_ready(cx)).await.unwrap();
            if let Ok(count) = near.try_read_into(&mut input) {
                received += count;
                input.clear();
            }
        }
        poll_fn(|cx| far.poll_write_ready(cx)).await.unwrap();
        far.try_write(b"more").unwrap();
    });
}

#[test]
fn a_task_without_budget_is_still_woken_by_what_comes() {
    run(async {
        for (name, (mut near, mut far)) in both_pairs().await {
            let (other, mut readable) = unix_pair();
            readable.write_all(b"x").await.unwrap();
            poll_fn(|cx| other.poll_read_ready(cx)).await.unwrap();
            let mut input = BytesMut::new();
            let (mut waits, mut polls) = (false, 0);
            let read = poll_fn(|cx| {
                polls += 1;
                if polls == 1 {
                    while other.poll_read_ready(cx).is_ready() {}
                }
                let read = near.poll_read_again(cx, &mut input, 100, &mut waits);
                if read.is_pending() && waits {
                    assert_eq!(far.try_write(b"hello").unwrap(), 5, "{name}");
                }
                read
            });
            assert_eq!(read.await.unwrap(), 5, "{name}");
            assert!(polls >= 3, "{name}: told to come again, then woken");
        }
    });
}

#[test]
fn who_asks_again_is_told_of_what_has_come() {
    run(async {
        for (name, (mut near, mut far)) in both_pairs().await {
            let mut waits = false;
            for round in 0..3 {
                let mut input = BytesMut::new();
                let mut asked = 0;
                let read = poll_fn(|cx| {
                    asked += 1;
                    let read = near.poll_read_again(cx, &mut input, 100, &mut waits);
                    if read.is_pending() {
                        assert!(waits, "{name} {round}");
                        assert!(
                            near.poll_read_again(cx, &mut input, 100, &mut waits)
                                .is_pending()
                        );
                        far.try_write(b"hello").unwrap();
                    }
                    read
                });
                assert_eq!(read.await.unwrap(), 5, "{name} {round}");
                assert!(!waits, "{name} {round}");
            }
        }
    });
}
