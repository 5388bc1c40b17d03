use proptest::prelude::*;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

#[test]
fn only_the_form_of_the_specification_is_a_traceparent() {
    let zero_trace = "0".repeat(32);
    let zero_span = "0".repeat(16);
    #[rustfmt::skip]
    let table = [
        // what                                      text                                              sampled
        ("plain",                                    format!("00-{TRACE}-{SPAN}-01"),                  Some(true)),
        ("not sampled",                              format!("00-{TRACE}-{SPAN}-00"),                  Some(false)),
        ("unknown flags are ignored",                format!("00-{TRACE}-{SPAN}-ff"),                  Some(true)),
        ("random flag alone",                        format!("00-{TRACE}-{SPAN}-02"),                  Some(false)),
        ("future version, same length",              format!("01-{TRACE}-{SPAN}-01"),                  Some(true)),
        ("future version, more fields",              format!("cc-{TRACE}-{SPAN}-01-what-the-future"),  Some(true)),
        ("future version, empty field",              format!("cc-{TRACE}-{SPAN}-01-"),                 Some(true)),
        ("future version, no dash",                  format!("cc-{TRACE}-{SPAN}-01.what"),             None),
        ("version 00 with more",                     format!("00-{TRACE}-{SPAN}-01-x"),                None),
        ("version 00 with a dash",                   format!("00-{TRACE}-{SPAN}-01-"),                 None),
        ("version ff",                               format!("ff-{TRACE}-{SPAN}-01"),                  None),
        ("version upper case",                       format!("CC-{TRACE}-{SPAN}-01"),                  None),
        ("version of one digit",                     format!("0-{TRACE}-{SPAN}-01"),                   None),
        ("version of three digits",                  format!("000-{TRACE}-{SPAN}-01"),                 None),
        ("version no hex",                           format!("0x-{TRACE}-{SPAN}-01"),                  None),
        ("trace id zero",                            format!("00-{zero_trace}-{SPAN}-01"),             None),
        ("span id zero",                             format!("00-{TRACE}-{zero_span}-01"),             None),
        ("trace id upper case",                      format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
        ("span id upper case",                       format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
        ("trace id short",                           format!("00-{}-{SPAN}-01", &TRACE[1..]),          None),
        ("trace id long",                            format!("00-{TRACE}0-{SPAN}-01"),                 None),
        ("trace id no hex",                          format!("00-.{}-{SPAN}-01", &TRACE[1..]),         None),
        ("span id no hex",                           format!("00-{TRACE}-.{}-01", &SPAN[1..]),         None),
        ("span id short",                            format!("00-{TRACE}-{}-01", &SPAN[1..]),          None),
        ("span id long",                             format!("00-{TRACE}-{SPAN}0-01"),                 None),
        ("flags of one digit",                       format!("00-{TRACE}-{SPAN}-1"),                   None),
        ("flags of three digits",                    format!("00-{TRACE}-{SPAN}-001"),                 None),
        ("flags upper case",                         format!("00-{TRACE}-{SPAN}-0A"),                  None),
        ("flags no hex",                             format!("00-{TRACE}-{SPAN}-0."),                  None),
        ("underscores",                              format!("00_{TRACE}_{SPAN}_01"),                  None),
        ("leading space",                            format!(" 00-{TRACE}-{SPAN}-01"),                 None),
        ("empty",                                    String::new(),                                    None),
        ("dash",                                     "-".to_owned(),                                   None),
        ("version alone",                            "00".to_owned(),                                  None),
    ];
    for (what, text, sampled) in table {
        let parsed = TraceContext::parse(text.as_bytes());
        assert_eq!(parsed.as_ref().map(|context| context.sampled), sampled, "{what}");
        if let Some(context) = parsed {
            let again = context.traceparent();
            assert_eq!(&again[3..52], &text.as_bytes()[3..52], "{what}");
            assert_eq!(&again[..2], b"00", "{what}: we speak version 00");
        }
    }
}

#[test]
fn two_traceparents_are_none() {
    let one = format!("00-{TRACE}-{SPAN}-01");
    let none: [&[u8]; 0] = [];
    assert!(TraceContext::extract([one.as_bytes()], none).is_some());
    assert!(TraceContext::extract([one.as_bytes(), one.as_bytes()], none).is_none());
    assert!(TraceContext::extract(none, none).is_none());
}

#[test]
fn tracestate_is_kept_when_sampled_and_dropped_whole_when_malformed() {
    let long_value = format!("a={}", "v".repeat(256));
    let too_long_value = format!("a={}", "v".repeat(257));
    let many = (0..32).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
    let too_many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
    #[rustfmt::skip]
    let table: Vec<(&str, Vec<&str>, Option<&str>)> = vec![
        ("one",                vec!["foo=1"],                    Some("foo=1")),
        ("spaces",             vec!["foo=1 ,\t bar=2 "],         Some("foo=1,bar=2")),
        ("inner space",        vec!["foo=1 2"],                  Some("foo=1 2")),
        ("two fields",         vec!["foo=1", "bar=2"],           Some("foo=1,bar=2")),
        ("empty members",      vec!["foo=1,,,bar=2", "", ","],   Some("foo=1,bar=2")),
        ("tenant",             vec!["0t@sys=1"],                 Some("0t@sys=1")),
        ("key symbols",        vec!["a_-*/0=1"],                 Some("a_-*/0=1")),
        ("longest value",      vec![&long_value],                Some(&long_value)),
        ("32 members",         vec![&many],                      Some(&many)),
        ("33 members",         vec![&too_many],                  None),
        ("value too long",     vec![&too_long_value],            None),
        ("duplicate key",      vec!["foo=1", "foo=2"],           None),
        ("upper case key",     vec!["Foo=1"],                    None),
        ("key starts wrong",   vec!["0foo=1"],                   None),
        ("two tenants",        vec!["a@b@c=1"],                  None),
        ("long system",        vec!["a@bcdefghijklmnop=1"],       None),
        ("no value",           vec!["foo"],                      None),
        ("empty value",        vec!["foo="],                     None),
        ("empty key",          vec!["=1"],                       None),
        ("equals in value",    vec!["foo=1=2"],                  None),
        ("control character",  vec!["foo=1\u{1}"],               None),
        ("not ASCII",          vec!["foo=\u{e9}"],               None),
        ("nothing",            vec![],                           None),
        ("only a comma",       vec![","],                        None),
    ];
    for (what, values, wanted) in table {
        let got = tracestate(values.iter().map(|value| value.as_bytes()));
        assert_eq!(got.as_deref(), wanted, "{what}");
    }

    let sampled = format!("00-{TRACE}-{SPAN}-01");
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    let state = |parent: &str| {
        TraceContext::extract([parent.as_bytes()], [&b"foo=1"[..]])
            .unwrap()
            .state
    };
    assert_eq!(state(&sampled).as_deref(), Some("foo=1"));
    assert_eq!(
        state(&unsampled),
        None,
        "nothing is allocated for a call that is not traced"
    );
}

#[test]
fn a_long_tracestate_loses_whole_members_from_the_right() {
    let text = (0..20)
        .map(|n| format!("k{n}={}", "v".repeat(40)))
        .collect::<Vec<_>>()
        .join(",");
    let kept = tracestate([text.as_bytes()]).unwrap();
    assert!(kept.len() <= 512 && text.starts_with(&*kept) && text.as_bytes()[kept.len()] == b',');
    assert!(!is_tracestate(text.as_bytes()));
    assert!(is_tracestate(kept.as_bytes()));
}

#[test]
fn samplers_follow_the_parent_or_the_trace_id() {
    let low = [0u8; 16];
    let high = [0xffu8; 16];
    #[rustfmt::skip]
    let table = [
        // name                        argument      no parent: low, high   parent sampled  parent not
        ("always_on",                  None,         (true,  true),         true,           true),
        ("always_off",                 None,         (false, false),        false,          false),
        ("traceidratio",               Some("0.5"),  (true,  false),        false,          false),
        ("parentbased_always_on",      None,         (true,  true),         true,           false),
        ("parentbased_always_off",     None,         (false, false),        true,           false),
        ("parentbased_traceidratio",   Some("0.5"),  (true,  false),        true,           false),
        ("parentbased_traceidratio",   None,         (true,  true),         true,           false),
    ];
    for (name, argument, root, sampled, unsampled) in table {
        let sampler = Sampler::of_env(name, argument).unwrap();
        assert_eq!(
            (sampler.sample(None, &low), sampler.sample(None, &high)),
            root,
            "{name}"
        );
        assert_eq!(sampler.sample(Some(true), &high), sampled, "{name}");
        assert_eq!(sampler.sample(Some(false), &high), unsampled, "{name}");
    }
    for (name, argument) in [
        ("sometimes", None),
        ("traceidratio", Some("2")),
        ("traceidratio", Some("NaN")),
    ] {
        let problem = Sampler::of_env(name, argument).unwrap_err();
        assert!(problem.contains(argument.unwrap_or(name)), "{problem}");
    }
}

#[test]
fn a_share_of_new_traces_is_sampled() {
    let ids = Ids::seeded(7);
    for ratio in [0.0, 0.1, 0.5, 1.0] {
        let sampler = Sampler::parent_based(ratio);
        let hits = (0..10_000)
            .filter(|_| TraceContext::root(&ids, &sampler).sampled)
            .count();
        assert!(
            (hits as f64 / 10_000.0 - ratio).abs() < 0.02,
            "{hits} of 10000 for {ratio}"
        );
    }
}

#[test]
fn a_child_is_in_the_same_trace_under_its_own_id() {
    let ids = Ids::default();
    let parent = TraceContext::root(&ids, &Sampler::parent_based(1.0));
    let child = TraceContext::begin(Some(&parent), &ids, &Sampler::parent_based(0.0));
    assert_eq!(child.trace_id, parent.trace_id);
    assert_ne!(child.span_id, parent.span_id);
    assert!(child.sampled, "the caller's decision is followed");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..56) {
        let _ = TraceContext::parse(&bytes);
        let _ = tracestate([&bytes[..]]);
        let _ = is_tracestate(&bytes);
        let mut nearly = format!("00-{TRACE}-{SPAN}-01").into_bytes();
        nearly.splice(cut.min(55).., bytes);
        let _ = TraceContext::parse(&nearly);
    }

    #[test]
    fn what_we_write_we_read(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), sampled: bool) {
        prop_assume!(trace != [0; 16] && span != [0; 8]);
        let context = TraceContext { trace_id: trace, span_id: span, sampled, state: None };
        prop_assert_eq!(TraceContext::parse(&context.traceparent()), Some(context));
    }

    #[test]
    fn whatever_tracestate_is_kept_is_accepted_again(values in proptest::collection::vec("[a-c@=, 0]{0,12}", 0..4)) {
        if let Some(kept) = tracestate(values.iter().map(|value| value.as_bytes())) {
            prop_assert!(is_tracestate(kept.as_bytes()));
            prop_assert_eq!(tracestate([kept.as_bytes()]), Some(kept.clone()));
        }
    }
}
