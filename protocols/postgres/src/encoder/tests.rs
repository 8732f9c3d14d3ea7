use super::*;
use crate::sqlstate::SqlState;
use crate::startup::ProtocolVersion;

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut dst = BytesMut::from(&b"before"[..]);
    write(&mut dst);
    dst.strip_prefix(b"before").unwrap().to_vec()
}

#[test]
fn the_gateways_own_errors() {
    let error = error_message(SqlState::TOO_MANY_CONNECTIONS, "no");
    assert_eq!(&error[..], b"E\0\0\0\x1eSERROR\0VERROR\0C53300\0Mno\0\0");
    let fatal = fatal_message(SqlState::PROTOCOL_VIOLATION, "no");
    assert_eq!(&fatal[..], b"E\0\0\0\x1eSFATAL\0VFATAL\0C08P01\0Mno\0\0");
    let notice = notice_message(SqlState::SUCCESSFUL_COMPLETION, "");
    assert_eq!(&notice[..], b"N\0\0\0\x1eSNOTICE\0VNOTICE\0C00000\0M\0\0");
}

#[test]
fn messages_of_no_function_here_can_be_written() {
    let bytes = written(|dst| message(Tag(b'?'), dst, |dst| dst.put_u16(7)));
    assert_eq!(bytes, b"?\0\0\0\x06\0\x07");
}

#[test]
fn whatever_is_passed_lengths_are_right() {
    let nul = written(|dst| query(b"a\0DROP", dst));
    assert_eq!(nul, b"Q\0\0\0\x06a\0");
    let pairs: [(&[u8], &[u8]); 3] = [(b"", b"lost"), (b"\0", b"lost"), (b"user", b"a\0b")];
    let start = written(|dst| startup(ProtocolVersion::V3_0, pairs, dst));
    assert_eq!(start, b"\0\0\0\x10\0\x03\0\0user\0a\0\0");
    let fields: [(u8, &[u8]); 2] = [(0, b"lost"), (b'M', b"m")];
    assert_eq!(
        written(|dst| error_response(fields, dst)),
        b"E\0\0\0\x08Mm\0\0"
    );
    let names: [&[u8]; 2] = [b"", b"X"];
    let sasl = written(|dst| authentication_sasl(names, dst));
    assert_eq!(sasl, b"R\0\0\0\x0b\0\0\0\x0aX\0\0");
    let many = vec![None; 65_536];
    let row = written(|dst| data_row(&many, dst));
    assert_eq!(row.len(), 5 + 2 + 4 * 65_535);
    assert_eq!(&row[5..7], b"\xff\xff");
}
