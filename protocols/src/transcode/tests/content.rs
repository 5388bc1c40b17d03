//! JSON to protobuf and back, by table.

use super::*;

#[test]
fn canonical_json_comes_back_as_it_was() {
    let everything = plan("test.Everything");
    #[rustfmt::skip]
    let table = [
        "{}", r#"{"aBool":true}"#, r#"{"aBytes":"AAEC/w=="}"#, r#"{"aDouble":1.5}"#, r#"{"aColour":"DARK_RED"}"#, r#"{"aColour":7}"#,
        r#"{"aFixed64":"18446744073709551615"}"#, r#"{"aFloat":"NaN"}"#, r#"{"aDouble":"-Infinity"}"#, r#"{"anInt64":"-9223372036854775808"}"#,
        r#"{"anSint32":-2147483648}"#, r#"{"anInt32":-1}"#, r#"{"aString":"\"\\\n\u0001é😀"}"#, r#"{"inside":{"inside":{}}}"#,
        r#"{"bools":[true,false]}"#, r#"{"sint32s":[1,-1]}"#, r#"{"insides":[{},{"aBool":true}]}"#, r#"{"strings":["","a"]}"#,
        r#"{"maybeBool":false,"maybeDouble":0,"maybeColour":"COLOUR_UNSPECIFIED","maybeString":""}"#,
        r#"{"byString":{"":"","a":"b"}}"#, r#"{"byInt32":{"-5":{"aBool":true},"0":{}}}"#, r#"{"byBool":{"true":"","false":"AA=="}}"#,
        r#"{"byUint64":{"18446744073709551615":"RED"}}"#, r#"{"chosenInt32":0}"#, r#"{"chosenNull":null}"#, r#"{"chosenInside":{}}"#,
        r#"{"any":{"@type":"type.googleapis.com/test.Everything","aBool":true}}"#, r#"{"any":{}}"#,
        r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1.500s"}}"#, r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/test.Everything"}}}"#,
        r#"{"duration":"-0.001s"}"#, r#"{"empty":{}}"#, r#"{"mask":"a.b,fooBar"}"#, r#"{"mask":""}"#, r#"{"list":[null,1,[],{}]}"#,
        r#"{"struct":{"a":null,"b":{"c":[true,"x"]}}}"#, r#"{"time":"2026-11-25T03:18:35.000000001Z"}"#, r#"{"value":null}"#, r#"{"value":{"a":1}}"#,
        r#"{"values":[null,false,[]]}"#, r#"{"times":["1970-01-01T00:00:00Z"]}"#, r#"{"wrappedBool":false,"wrappedInt64":"0","wrappedString":""}"#,
        r#"{"another-name \"":"x"}"#, r#"{"far":"x"}"#,
    ];
    for json in table {
        assert_eq!(round(&everything, json).unwrap(), json);
    }
}

#[test]
fn other_ways_of_writing_are_understood() {
    let everything = plan("test.Everything");
    #[rustfmt::skip]
    let table = [
        (r#" { "a_bool" : true , "an_int32":"7" } "#, r#"{"aBool":true,"anInt32":7}"#), (r#"{"anInt64":5,"aUint32":1.0e2}"#, r#"{"anInt64":"5","aUint32":100}"#),
        (r#"{"aColour":1}"#, r#"{"aColour":"RED"}"#), (r#"{"aBytes":"_-8"}"#, r#"{"aBytes":"/+8="}"#), (r#"{"aDouble":"1e3"}"#, r#"{"aDouble":1000}"#),
        (r#"{"aBool":null,"strings":null,"byString":null,"inside":null,"time":null,"wrappedBool":null,"chosenString":null,"chosenInt32":1}"#, r#"{"chosenInt32":1}"#),
        (r#"{"aBool":false,"anInt32":0,"aString":"","aDouble":0,"aFixed64":0}"#, "{}"), (r#"{"strings":[],"bools":[],"byString":{}}"#, "{}"),
        (r#"{"aString":"\ud83d\ude00\u0041\/\b"}"#, r#"{"aString":"😀A/\u0008"}"#), (r#"{"any":{"aBool":true,"@type":"x/test.Everything"}}"#, r#"{"any":{"@type":"x/test.Everything","aBool":true}}"#),
        (r#"{"any":{"value":"1s","@type":"x/google.protobuf.Duration"}}"#, r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1s"}}"#),
        (r#"{"aDouble":-0}"#, r#"{"aDouble":-0}"#), (r#"{"time":"2026-01-01T01:00:00+01:00"}"#, r#"{"time":"2026-01-01T00:00:00Z"}"#),
    ];
    for (given, printed) in table {
        assert_eq!(round(&everything, given).unwrap(), printed, "{given}");
    }
}

#[test]
fn j1_bad_json_is_refused_with_its_place() {
    let everything = plan("test.Everything");
    let deep = format!("{{\"value\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let nested = format!("{}{}", "{\"inside\":".repeat(100), "}".repeat(100));
    let long = format!("{{\"aDouble\":{}}}", "1".repeat(100_000));
    #[rustfmt::skip]
    let table = [
        ("", "the JSON ends"), ("\u{feff}{}", "byte order mark"), ("{}x", "expected the end, found `x` (byte 2"), ("{}{}", "expected the end"),
        ("[]", "expected an object"), ("\0{}", "0x00"), ("{\"aBool\":true,}", "expected a key"), ("{aBool:true}", "expected a key"),
        ("{\"aBool\" true}", "expected `:`"), ("{\"aBool\":tru}", "expected a value"), ("{\"aBool\":1}", "aBool: expected true or false (byte 9"),
        ("{\"nope\":1}", "nope: `test.Everything` has no such field (byte 1"), ("{\"insides\":[{},{\"inside\":{\"an_int32\":\"x\"}}]}", "insides[1].inside.anInt32: not a number (byte 37"),
        ("{\"aBool\":true,\"aBool\":true}", "aBool: given twice (byte 14"), ("{\"aBool\":true,\"a_bool\":true}", "given twice"),
        ("{\"aDouble\":1e400}", "aDouble: the number is out of range"), ("{\"aFloat\":1e39}", "out of range"), ("{\"anInt32\":2147483648}", "out of range"),
        ("{\"aUint32\":-1}", "out of range"), ("{\"anInt32\":1.5}", "expected an integer"), ("{\"anInt32\":01}", "not a number"), ("{\"anInt32\":\" 1\"}", "not a number"),
        ("{\"aString\":\"\\ud800\"}", "lone surrogate (byte 12"), ("{\"aString\":\"\\udc00\\ud800\"}", "lone surrogate"), ("{\"aString\":\"\\ud800\\u0041\"}", "lone surrogate"),
        ("{\"aString\":\"\u{1}\"}", "control character"), ("{\"aString\":\"a", "the string has no end"), ("{\"aString\":\"\\x\"}", "no such escape"),
        ("{\"aColour\":\"BLUE\"}", "`BLUE` is no value of `test.Colour`"), ("{\"aBytes\":\"*\"}", "base64"), ("{\"bools\":[null]}", "bools[0]: expected true or false"),
        ("{\"byString\":{\"a\":\"\",\"a\":\"\"}}", "byString: a key is given twice (byte 20"), ("{\"byInt32\":{\"1\":{},\"1.0\":{}}}", "given twice"),
        ("{\"struct\":{\"a\":1,\"\\u0061\":2}}", "a key is given twice"), ("{\"byString\":{\"a\":null}}", "byString[\"a\"]: expected a string"),
        ("{\"chosenString\":\"\",\"chosenInt32\":1}", "chosenInt32: another field of the same oneof"), ("{\"any\":{\"@type\":\"x/nope.Nope\"}}", "no type `x/nope.Nope`"),
        ("{\"any\":{\"aBool\":true}}", "needs \"@type\""), ("{\"any\":{\"@type\":\"x/test.Everything\",\"@type\":\"x/test.Everything\"}}", "no such field"),
        ("{\"time\":\"yesterday\"}", "time: expected a time"), ("{\"duration\":\"1\"}", "expected a duration"), ("{\"mask\":\"foo_bar\"}", "field mask"),
        ("{\"aDouble\":NaN}", "expected a value"), ("{\"aDouble\":\"nan\"}", "not a number"), ("{\"aDouble\":.5}", "expected a value"), ("{\"aDouble\":1.}", "not a number"),
        ("{\"aBool\":\"true\"}", "expected true or false"), ("{\"aString\":1}", "expected a string"), ("{\"inside\":[]}", "inside: expected an object"),
        ("{/*x*/}", "expected a key"), ("{'aBool':true}", "expected a key"),
        (&deep, "too deep"), (&nested, "too deep"), (&long, "too many digits"),
    ];
    for (json, reason) in table {
        let error = round(&everything, json).unwrap_err().to_string();
        assert!(error.contains(reason), "{json:.80}: {error}");
    }
    let invalid = everything
        .from_json(b"{\"aString\":\"\xff\"}", &mut Vec::new())
        .unwrap_err();
    assert_eq!(invalid.place(), &Place::Json(12));
}

#[test]
fn j1_a_flood_of_keys_or_brackets_ends_soon() {
    let everything = plan("test.Everything");
    let keys: Vec<_> = (0..300_000).map(|at| format!("\"{at}\":\"\"")).collect();
    let json = format!("{{\"byString\":{{{}}}}}", keys.join(","));
    assert_eq!(round(&everything, &json).unwrap().len(), json.len());
    let brackets = "[".repeat(100_000);
    assert!(round(&everything, &brackets).is_err());
    assert!(round(&everything, &format!("{{\"value\":{brackets}")).is_err());
    assert!(round(&everything, &format!("{{\"any\":{{\"x\":{brackets}")).is_err());
}

#[test]
fn what_was_written_before_an_error_is_taken_back() {
    let everything = plan("test.Everything");
    let mut out = b"before".to_vec();
    everything
        .from_json(b"{\"aString\":\"x\",\"nope\":1}", &mut out)
        .unwrap_err();
    assert_eq!(out, b"before");
    everything.to_json(&[0x72, 1, b'x', 0xff], &mut out).unwrap_err();
    assert_eq!(out, b"before");
}

#[test]
fn p1_the_last_of_several_values_counts_and_pieces_are_merged() {
    let everything = plan("test.Everything");
    #[rustfmt::skip]
    let table: [(&[u8], &str); 15] = [
        (b"\x40\x01\x40\x02", r#"{"anInt32":2}"#),
        (b"\x40\x01\x40\x00", "{}"),
        // inside{anInt32:1} aBool inside{aString:x}
        (b"\x8a\x01\x02\x40\x01\x08\x01\x8a\x01\x03\x72\x01x", r#"{"aBool":true,"inside":{"anInt32":1,"aString":"x"}}"#),
        // strings, broken up, in the order in which they came
        (b"\x92\x02\x01a\x08\x01\x92\x02\x01b", r#"{"aBool":true,"strings":["a","b"]}"#),
        // packed and unpacked in one list
        (b"\xaa\x01\x02\x01\x00\xa8\x01\x01", r#"{"bools":[true,false,true]}"#),
        (b"\xaa\x01\x00", "{}"),
        (b"\xaa\x01\x00\xa8\x01\x01", r#"{"bools":[true]}"#),
        // a oneof: string, then number, then string
        (b"\xba\x04\x01a\xc0\x04\x05\xba\x04\x01b", r#"{"chosenString":"b"}"#),
        (b"\xba\x04\x01a\xc0\x04\x05", r#"{"chosenInt32":5}"#),
        // chosenInside{anInt32:1} chosenInt32 chosenInside{aBool}: cleared in between, so not merged
        (b"\xca\x04\x02\x40\x01\xc0\x04\x05\xca\x04\x02\x08\x01", r#"{"chosenInside":{"aBool":true}}"#),
        // a map with a key twice
        (b"\xea\x03\x06\x0a\x01a\x12\x01x\xea\x03\x06\x0a\x01b\x12\x01y\xea\x03\x06\x0a\x01a\x12\x01z", r#"{"byString":{"a":"z","b":"y"}}"#),
        // a map entry without key and value
        (b"\xea\x03\x00", r#"{"byString":{"":""}}"#),
        // unknown fields, a group among them, and a known field with another wire type
        (b"\xf8\x3f\x01\xf3\x3f\x08\x01\xf4\x3f\x0d\x01\x02\x03\x04\x08\x01", r#"{"aBool":true}"#),
        // a varint of ten bytes
        (b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", r#"{"anInt32":-1}"#),
        // a field again after its list began
        (b"\x92\x02\x01a\x90\x02\x05\x92\x02\x01b", r#"{"strings":["a","b"]}"#),
    ];
    for (proto, json) in table {
        let mut out = Vec::new();
        everything.to_json(proto, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), json);
    }
}

#[test]
fn p1_bad_protobuf_is_refused_with_the_field() {
    let everything = plan("test.Everything");
    let deep = |levels: usize| {
        let mut proto = Vec::new();
        for _ in 0..levels {
            let mut outer = vec![0x8a, 0x01];
            wire::put_piece(&proto, &mut outer);
            proto = outer;
        }
        proto
    };
    assert!(everything.to_json(&deep(99), &mut Vec::new()).is_ok());
    let twice = [deep(100), deep(100)].concat();
    #[rustfmt::skip]
    let table: [(&[u8], &str); 11] = [
        (b"\x72\x01\xff", "aString: invalid UTF-8"), (b"\x72\x05x", "beyond the message"), (b"\x08", "cut off"), (b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "more than ten"),
        (b"\x00\x01", "field number 0"), (b"\x0f", "wire type"), (b"\x8a\x01\x03\x72\x01\xff", "inside.aString: invalid UTF-8"), (b"\x0c", "end of a group"),
        (&deep(100), "too deep"), (&twice, "too deep"), (b"\x8a\x05\x05\x0a\x03x/y", "any: the schema has no type `x/y`"),
    ];
    for (proto, reason) in table {
        let error = everything.to_json(proto, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains(reason), "{proto:.30?}: {error}");
    }
}

#[test]
fn proto2_has_groups_extensions_and_closed_enums() {
    let old = plan("old.Old");
    #[rustfmt::skip]
    let table = [
        r#"{"id":0,"name":"","unpacked":[1,2],"packed":[3,4],"closed":"ONE"}"#, r#"{"inner":{"text":"x","deeper":{"id":1}}}"#,
        r#"{"many":[{"number":1},{}]}"#, r#"{"[old.extra]":"x","[old.extras]":["1"],"[old.extra_old]":{"id":7}}"#, r#"{"children":{"a":{"inner":{}}}}"#,
    ];
    for json in table {
        assert_eq!(round(&old, json).unwrap(), json);
    }
    assert!(
        round(&old, r#"{"closed":3}"#)
            .unwrap_err()
            .to_string()
            .contains("3 is no value of `old.Closed`")
    );
}

#[test]
fn p1_pieces_in_pieces_do_not_multiply_a_message() {
    let everything = plan("test.Everything");
    // At each level `inside` comes twice, so that each level has to be put together.
    let mut proto = vec![b'x'; 100_000];
    proto.splice(0..0, [0x72, 0xa0, 0x8d, 0x06]);
    for _ in 0..90 {
        let mut outer = vec![0x8a, 0x01, 0x00, 0x8a, 0x01];
        wire::put_piece(&proto, &mut outer);
        proto = outer;
    }
    let error = everything.to_json(&proto, &mut Vec::new()).unwrap_err();
    assert!(error.reason().contains("too many pieces"), "{error}");
}
