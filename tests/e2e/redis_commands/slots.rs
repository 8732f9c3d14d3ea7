//! Slots of Redis Cluster against a server that has them.

use harness::redis::Redis;
use portcullis_redis::hash::slot;
use portcullis_testkit::Random;

#[test]
fn slots_are_those_of_redis_cluster() {
    let Some(server) = Redis::with(&["cluster-enabled yes"]) else {
        return;
    };
    let mut client = server.client();
    let (mut random, seed) = Random::from_environment(3);
    let mut keys: Vec<Vec<u8>> = [
        "", "{}", "{}a", "{a}", "a{b}c", "a{{b}c}", "{", "}", "a}b{c}", "{a}{b}", "a{}b{c}",
    ]
    .map(|key| key.as_bytes().to_vec())
    .to_vec();
    keys.push(b"a\r\nb\0{\xff}".to_vec());
    keys.push(vec![b'x'; 1 << 20]);
    for _ in 0..3000 {
        let length = random.below(24);
        let byte = |random: &mut Random| match random.below(6) {
            0 => b'{',
            1 => b'}',
            _ => random.next_u64() as u8,
        };
        keys.push((0..length).map(|_| byte(&mut random)).collect());
    }
    for key in keys {
        let theirs = client
            .call(&[b"CLUSTER".as_slice(), b"KEYSLOT", &key])
            .integer();
        assert_eq!(
            i64::from(slot(&key)),
            theirs,
            "seed {seed}: {}",
            key.escape_ascii()
        );
    }
}
