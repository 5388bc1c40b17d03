//! Random messages through this code and through the dynamic messages of prost-reflect, which must agree.

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value};

use super::*;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let files = [
        ("everything.proto", include_str!("everything.proto")),
        ("old.proto", include_str!("old.proto")),
        ("library.proto", include_str!("library.proto")),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    load::pool(&compile(&files).unwrap()).unwrap()
});

/// Makes messages of a seed (splitmix64).
struct Maker(u64);

impl Maker {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn number(&mut self) -> i64 {
        match self.below(6) {
            0 => 0,
            1 => -1,
            2 => i64::MIN,
            3 => i64::MAX,
            4 => self.below(300) as i64,
            _ => self.next() as i64,
        }
    }

    fn text(&mut self) -> String {
        let alphabet: Vec<char> = "abcXYZ_019 \"\\/\n\u{1}\u{7f}é😀\u{2028}<>&".chars().collect();
        let length = [0, 1, 7, 8, 9, 40, 130][self.below(7) as usize];
        (0..length)
            .map(|_| alphabet[self.below(alphabet.len() as u64) as usize])
            .collect()
    }

    /// Of few digits, which serde_json reads exactly; not -0, which the oracle leaves out of map entries.
    fn double(&mut self) -> f64 {
        match self.below(6) {
            0 => f64::INFINITY,
            1 => f64::NEG_INFINITY,
            2 => 0.0,
            _ => f64::from(self.next() as i32) / 8.0,
        }
    }

    fn message(&mut self, of: &MessageDescriptor, depth: u32) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        let mut set = |name: &str, value| message.set_field_by_name(name, value);
        match of.full_name() {
            "google.protobuf.Any" => {
                let name = ["test.Everything", "google.protobuf.Duration", "old.Old"][self.below(3) as usize];
                let inside = self.message(&POOL.get_message_by_name(name).unwrap(), depth + 2);
                set("type_url", Value::String(format!("type.googleapis.com/{name}")));
                set("value", Value::Bytes(inside.encode_to_vec().into()));
            }
            "google.protobuf.Duration" => {
                let sign = if self.one_in(2) { 1 } else { -1 };
                set("seconds", Value::I64(sign * self.below(315_576_000_000) as i64));
                set("nanos", Value::I32(sign as i32 * self.below(1_000_000_000) as i32));
            }
            "google.protobuf.Timestamp" => {
                set(
                    "seconds",
                    Value::I64(self.below(315_537_897_600) as i64 - 62_135_596_800),
                );
                let unit = [1, 1000, 1_000_000][self.below(3) as usize];
                set("nanos", Value::I32((self.below(1000) * unit) as i32));
            }
            "google.protobuf.FieldMask" => {
                let paths = ["foo", "foo_bar.baz", "a1"].map(|path| Value::String(path.to_owned()));
                set("paths", Value::List(paths[..self.below(4) as usize].to_vec()));
            }
            "google.protobuf.Value" => {
                let number = Some(self.double()).filter(|number| number.is_finite()).unwrap_or(1.5);
                match self.below(if depth > 6 { 4 } else { 6 }) {
                    0 => set("null_value", Value::EnumNumber(0)),
                    1 => set("number_value", Value::F64(number)),
                    2 => set("string_value", Value::String(self.text())),
                    3 => set("bool_value", Value::Bool(self.one_in(2))),
                    at => {
                        let name = if at == 4 { "struct_value" } else { "list_value" };
                        let Kind::Message(of) = of.get_field_by_name(name).unwrap().kind() else {
                            unreachable!()
                        };
                        set(name, Value::Message(self.message(&of, depth + 1)));
                    }
                }
            }
            // The oracle writes infinity in a wrapper as null.
            "google.protobuf.DoubleValue" => set("value", Value::F64(0.25)),
            "google.protobuf.FloatValue" => set("value", Value::F32(-3.5)),
            _ => self.fields(&mut message, depth),
        }
        message
    }

    fn fields(&mut self, message: &mut DynamicMessage, depth: u32) {
        let of = message.descriptor();
        let sparse = 2 + u64::from(depth) * 8;
        for field in of.fields() {
            let whole = matches!(of.full_name(), "google.protobuf.Struct" | "google.protobuf.ListValue");
            let too_deep = depth > 4 && matches!(field.kind(), Kind::Message(_));
            if !whole && (too_deep || !self.one_in(sparse)) {
                continue;
            }
            let count = self.below(4);
            let value = if field.is_map() {
                let Kind::Message(entry) = field.kind() else {
                    unreachable!()
                };
                let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
                Value::Map(
                    (0..count)
                        .map(|_| (self.key(&key), self.value(&value, depth)))
                        .collect(),
                )
            } else if field.is_list() {
                Value::List((0..count).map(|_| self.value(&field.kind(), depth)).collect())
            } else {
                self.value(&field.kind(), depth)
            };
            message.set_field(&field, value);
        }
        for extension in of.extensions() {
            if depth < 4 && self.one_in(sparse) {
                let value = self.value(&extension.kind(), depth);
                let value = if extension.is_list() {
                    Value::List(vec![value])
                } else {
                    value
                };
                message.set_extension(&extension, value);
            }
        }
    }

    fn key(&mut self, kind: &Kind) -> MapKey {
        match self.value(kind, 0) {
            Value::Bool(key) => MapKey::Bool(key),
            Value::I32(key) => MapKey::I32(key),
            Value::I64(key) => MapKey::I64(key),
            Value::U32(key) => MapKey::U32(key),
            Value::U64(key) => MapKey::U64(key),
            Value::String(key) => MapKey::String(key),
            other => unreachable!("{other:?}"),
        }
    }

    fn value(&mut self, kind: &Kind, depth: u32) -> Value {
        match kind {
            Kind::Bool => Value::Bool(self.one_in(2)),
            Kind::Bytes => Value::Bytes(self.text().into()),
            Kind::Double => Value::F64(self.double()),
            Kind::Float => Value::F32(
                Some(self.double() as f32)
                    .filter(|value| !value.is_nan())
                    .unwrap_or(0.5),
            ),
            Kind::Enum(of) => {
                let known: Vec<_> = of.values().map(|value| value.number()).collect();
                Value::EnumNumber(known[self.below(known.len() as u64) as usize])
            }
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.number() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number() as u64),
            Kind::String => Value::String(self.text()),
            Kind::Message(of) => Value::Message(self.message(of, depth + 1)),
        }
    }
}

fn made(seed: u64) -> DynamicMessage {
    let mut maker = Maker(seed);
    let name = ["test.Everything", "test.Everything", "old.Old"][maker.below(3) as usize];
    maker.message(&POOL.get_message_by_name(name).unwrap(), 0)
}

fn plan_of(message: &DynamicMessage) -> Plan {
    plan(message.descriptor().full_name())
}

fn ours(plan: &Plan, proto: &[u8]) -> Vec<u8> {
    let mut json = Vec::new();
    plan.to_json(proto, &mut json).unwrap();
    json
}

fn theirs(of: &MessageDescriptor, json: &[u8]) -> DynamicMessage {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(of.clone(), &mut reader).unwrap();
    reader.end().unwrap();
    message
}

/// Numbers compare by value, so that 1 is 1.0.
fn value(json: &[u8]) -> serde_json::Value {
    fn plain(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Number(number) => serde_json::json!(number.as_f64()),
            serde_json::Value::Array(items) => items.into_iter().map(plain).collect(),
            serde_json::Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, plain(value))).collect(),
            other => other,
        }
    }
    plain(serde_json::from_slice(json).unwrap())
}

/// What the oracle writes. It also tells messages apart: groups in it are not equal to themselves.
fn dynamic(message: &DynamicMessage) -> serde_json::Value {
    value(&serde_json::to_vec(message).unwrap())
}

/// Texts that are nearly JSON, and sometimes are.
fn json_like() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let words = [
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"a\":", "\"", "\\", "\\u0041", "\\ud83d\\ude00", "\\ud800", "0", "-", "1", ".", "e", "E+", "1e400", "1.5", "-0", "01",
        "true", "false", "null", "nul", " ", "\t", "\n", "\r", "\u{b}", "\0", "\u{feff}", "é", "/", "NaN", "'", "//", "\"b\":[", "\"\\n\"",
    ];
    let nearly =
        proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..12).prop_map(|words| words.concat());
    let leaf = proptest::sample::select(vec![
        "1",
        "-1.5e3",
        "\"x\"",
        "true",
        "null",
        " [] ",
        "{}",
        "\"\\ud83d\\ude00\"",
    ])
    .prop_map(str::to_owned);
    let whole = leaf.prop_recursive(4, 20, 4, |inside| {
        proptest::collection::vec(inside, 0..4).prop_flat_map(|items| {
            let object: Vec<_> = items
                .iter()
                .enumerate()
                .map(|(at, item)| format!("\"k{at}\" :{item}"))
                .collect();
            proptest::sample::select(vec![
                format!("[{}]", items.join(",")),
                format!("{{{}}}", object.join(" ,\n")),
            ])
        })
    });
    let changed = (
        whole,
        any::<proptest::sample::Index>(),
        proptest::sample::select(words.to_vec()),
    );
    let changed = changed.prop_map(|(text, at, word)| {
        let at = at.index(text.len() + 1);
        if text.is_char_boundary(at) {
            format!("{}{word}{}", &text[..at], &text[at..])
        } else {
            text
        }
    });
    prop_oneof![nearly, changed]
}

/// The fields of a message, cut apart.
fn pieces(proto: &[u8]) -> Vec<&[u8]> {
    let mut wire = wire::Wire::new(proto);
    let mut pieces = Vec::new();
    let mut start = 0;
    while wire.next().unwrap().is_some() {
        let end = proto.len() - wire.left();
        pieces.push(&proto[start..end]);
        start = end;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn json_of_any_message_is_what_the_oracle_writes_and_reads(seed: u64) {
        let message = made(seed);
        let json = ours(&plan_of(&message), &message.encode_to_vec());
        prop_assert_eq!(value(&json), dynamic(&message));
        prop_assert_eq!(dynamic(&theirs(&message.descriptor(), &json)), dynamic(&message));
    }

    #[test]
    fn protobuf_of_any_json_is_what_the_oracle_reads(seed: u64) {
        let message = made(seed);
        let json = serde_json::to_vec(&message).unwrap();
        let mut proto = Vec::new();
        plan_of(&message).from_json(&json, &mut proto).unwrap();
        let read = DynamicMessage::decode(message.descriptor(), &*proto).unwrap();
        prop_assert_eq!(dynamic(&read), dynamic(&message));
    }

    #[test]
    fn fields_in_any_order_mean_what_the_oracle_says(first: u64, second: u64, order: u64) {
        let message = made(first);
        let mut maker = Maker(second);
        let other = maker.message(&message.descriptor(), 0);
        let (first, second) = (message.encode_to_vec(), other.encode_to_vec());
        let mut pieces = [pieces(&first), pieces(&second)].concat();
        let mut shuffle = Maker(order);
        for at in 1..pieces.len() {
            pieces.swap(at, shuffle.below(at as u64 + 1) as usize);
        }
        let proto = pieces.concat();
        let merged = DynamicMessage::decode(message.descriptor(), &*proto).unwrap();
        // An Any can end up with the type of one and the content of the other: then there is no JSON.
        if let Ok(expected) = serde_json::to_vec(&merged) {
            let json = ours(&plan_of(&message), &proto);
            prop_assert_eq!(value(&json), value(&expected));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), seed: u64, at: usize, byte: u8) {
        let everything = plan("test.Everything");
        let mut out = Vec::new();
        let _ = everything.from_json(&bytes, &mut out);
        let _ = everything.to_json(&bytes, &mut out);
        // And a message with one byte changed, in either form.
        let message = made(seed);
        let plan = plan_of(&message);
        for mut content in [message.encode_to_vec(), serde_json::to_vec(&message).unwrap()] {
            let length = content.len().max(1);
            if let Some(changed) = content.get_mut(at % length) {
                *changed = byte;
            }
            let _ = plan.from_json(&content, &mut out);
            let _ = plan.to_json(&content, &mut out);
        }
    }

    #[test]
    fn every_number_survives_to_the_last_bit(double: f64, float: f32, signed: i64, unsigned: u64) {
        let everything = plan("test.Everything");
        let json = format!("{{\"maybeDouble\":{double:e},\"aFloat\":\"{float}\",\"anSint64\":{signed},\"aFixed64\":{unsigned}}}");
        let mut proto = Vec::new();
        everything.from_json(json.as_bytes(), &mut proto).unwrap();
        let mut again = Vec::new();
        everything.from_json(&ours(&everything, &proto), &mut again).unwrap();
        let read = |proto: &[u8]| {
            let message = DynamicMessage::decode(POOL.get_message_by_name("test.Everything").unwrap(), proto).unwrap();
            let field = |name: &str| message.get_field_by_name(name).unwrap().into_owned();
            let double = field("maybe_double").as_f64().unwrap().to_bits();
            let float = field("a_float").as_f32().unwrap().to_bits();
            (double, float, field("an_sint64").as_i64().unwrap(), field("a_fixed64").as_u64().unwrap())
        };
        prop_assert_eq!(read(&proto), (double.to_bits(), float.to_bits(), signed, unsigned));
        prop_assert_eq!(read(&again), read(&proto));
    }

    #[test]
    fn j1_what_is_json_is_what_serde_json_says(text in json_like()) {
        let value = plan("google.protobuf.Value");
        let ours = value.from_json(text.as_bytes(), &mut Vec::new());
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // Keys that come twice are refused here only.
        let twice = ours.as_ref().is_err_and(|error| error.reason().contains("twice"));
        prop_assert!(ours.is_ok() == theirs.is_ok() || twice, "{text}: {ours:?}, {theirs:?}");
    }

    #[test]
    fn what_is_accepted_is_stable(seed: u64, at: usize, byte: u8) {
        let message = made(seed);
        let plan = plan_of(&message);
        let mut json = serde_json::to_vec(&message).unwrap();
        let length = json.len();
        json[at % length] = byte;
        let mut proto = Vec::new();
        if plan.from_json(&json, &mut proto).is_ok() {
            let once = ours(&plan, &proto);
            let mut again = Vec::new();
            plan.from_json(&once, &mut again).unwrap();
            prop_assert_eq!(ours(&plan, &again), once);
        }
    }
}
