//! `google.api.http` rules: which request means which method, and what its message is.

use http::Method as Http;

use super::*;

/// The request message of an HTTP request, as JSON.
fn request(http: &Http, target: &str, body: &str) -> Result<String, String> {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    let found = SCHEMA.find(http, path).map_err(|missed| format!("{missed:?}"))?;
    let mut proto = Vec::new();
    let body = (!body.is_empty()).then_some(body.as_bytes());
    found
        .request(query, body, &mut proto)
        .map_err(|error| error.to_string())?;
    let mut json = Vec::new();
    found.method().request_to_json(&proto, &mut json).unwrap();
    let name = found.method().path().rsplit('/').next().unwrap();
    Ok(format!("{name} {}", String::from_utf8(json).unwrap()))
}

#[test]
fn path_query_and_body_make_one_message() {
    #[rustfmt::skip]
    let table = [
        (Http::GET, "/v1/shelves/1/books/2", "", r#"GetBook {"name":"shelves/1/books/2"}"#),
        (Http::GET, "/v1/shelves/a%20b/books/c%2Fd?revision=7&all=true", "", r#"GetBook {"name":"shelves/a b/books/c%2Fd","revision":7,"all":true}"#),
        (Http::GET, "/v1/books/c%2Fd", "", r#"GetBook {"name":"c/d"}"#),
        (Http::GET, "/v1/books/x?name=x", "", r#"GetBook {"name":"x"}"#),
        (Http::GET, "/v1/shelves/1/books?tags=a&tags=b+c&author.first_name=X&author.pupilOf.lastName=Y&years=1&years=2", "",
            r#"ListBooks {"parent":"shelves/1","tags":["a","b c"],"author":{"firstName":"X","pupilOf":{"lastName":"Y"}},"years":[1,2]}"#),
        (Http::GET, "/v1/shelves/1/books?since=2026-01-01T00:00:00Z&within=1.5s&least=7&read_mask=a,bC&order=OLDEST_FIRST&token=AAE&archived=false&score=NaN", "",
            r#"ListBooks {"parent":"shelves/1","since":"2026-01-01T00:00:00Z","within":"1.500s","least":"7","readMask":"a,bC","order":"OLDEST_FIRST","token":"AAE=","archived":false,"score":"NaN"}"#),
        (Http::GET, "/v1/shelves/1/books?order=1&pageSize=0&by_title=", "", r#"ListBooks {"parent":"shelves/1","order":"OLDEST_FIRST","byTitle":""}"#),
        (Http::GET, "/v1/shelves/1/books:stream", "", r#"StreamBooks {"parent":"shelves/1"}"#),
        (Http::POST, "/v1/shelves/s/books?request_id=r", r#"{"title":"T","pages":"5"}"#, r#"CreateBook {"shelf":"s","requestId":"r","book":{"title":"T","pages":"5"}}"#),
        (Http::POST, "/v1/shelves/s/books", "null", r#"CreateBook {"shelf":"s"}"#),
        (Http::PATCH, "/v1/shelves/1/books/2", r#"{"title":"T"}"#, r#"UpdateBook {"book":{"name":"shelves/1/books/2","title":"T"}}"#),
        (Http::PATCH, "/v1/shelves/1/books/2", r#"{"title":"T","name":"shelves/1/books/2"}"#, r#"UpdateBook {"book":{"name":"shelves/1/books/2","title":"T"}}"#),
        (Http::PATCH, "/v1/shelves/1/books/2", r#"{"name":""}"#, r#"UpdateBook {"book":{"name":"shelves/1/books/2"}}"#),
        (Http::POST, "/v1/shelves/1/books/2:move", r#"{"shelf":"s"}"#, r#"MoveBook {"name":"shelves/1/books/2","shelf":"s"}"#),
        (Http::POST, "/v1/shelves/1/books/2:move", "", r#"MoveBook {"name":"shelves/1/books/2"}"#),
        (Http::DELETE, "/v1/shelves/1/a/b", "", r#"DeleteBook {"name":"shelves/1/a/b"}"#),
        (Http::DELETE, "/v1/shelves", "", r#"DeleteBook {"name":"shelves"}"#),
        (Http::HEAD, "/v1/heads/x", "", r#"Head {"name":"x"}"#),
        (Http::PUT, "/v1/anything/x/y", "", r#"Anything {"name":"x/y"}"#),
        (Http::POST, "/library.v1.Library/GetBook", r#"{"name":"x"}"#, r#"GetBook {"name":"x"}"#),
        (Http::POST, "/library.v1.Library/Plain", r#"{"title":"x"}"#, r#"Plain {"title":"x"}"#),
        (Http::POST, "/v1/import/s", r#"{"name":"n"}"#, r#"Import {"shelf":"s","name":"n"}"#),
    ];
    for (http, target, body, message) in table {
        assert_eq!(request(&http, target, body).as_deref(), Ok(message), "{http} {target}");
    }
}

#[test]
fn requests_that_contradict_or_invent_are_refused_with_the_name() {
    let deep = format!("/v1/shelves/1/books?author.{}first_name=x", "pupil_of.".repeat(20_000));
    #[rustfmt::skip]
    let table = [
        (Http::GET, "/v1/books/x?nope=1", "", "query parameter `nope`: there is no such field"),
        (Http::GET, "/v1/books/x?name=y", "", "query parameter `name`: the path has another value"),
        (Http::GET, "/v1/books/x?revision=1&revision=2", "", "query parameter `revision`: given twice"),
        (Http::GET, "/v1/books/x?revision=one", "", "query parameter `revision`: not a number"),
        (Http::GET, "/v1/books/x?all=yes", "", "query parameter `all`: expected true or false"),
        (Http::GET, "/v1/books/x?all=%zz", "", "query parameter `all`: malformed percent-encoding"),
        (Http::GET, "/v1/books/x", "{}", "the method takes no body"),
        (Http::GET, "/v1/books/%ff", "", "path variable `name`: invalid UTF-8"),
        (Http::GET, "/v1/shelves/1/books?author=x", "", "query parameter `author`: a message cannot"),
        (Http::GET, "/v1/shelves/1/books?labels=x", "", "query parameter `labels`: a map cannot"),
        (Http::GET, "/v1/shelves/1/books?more.x=y", "", "query parameter `more.x`: there is no such field"),
        (Http::GET, "/v1/shelves/1/books?tags.x=y", "", "query parameter `tags.x`: only fields of single messages"),
        (Http::GET, "/v1/shelves/1/books?by_title=a&by_author=b", "", "query parameter `by_author`: another field of the same oneof"),
        (Http::POST, "/v1/shelves/s/books?book.title=x", "{}", "query parameter `book.title`: it belongs into the body"),
        (Http::POST, "/v1/shelves/1/books/2:move?shelf=s", "{}", "query parameter `shelf`: the method takes everything from the body"),
        (Http::PATCH, "/v1/shelves/1/books/2", r#"{"title":"T","name":"other"}"#, "book.name: the path has another value for it (byte 20"),
        (Http::POST, "/v1/shelves/1/books/2:move", r#"{"name":"other"}"#, "name: the path has another value for it"),
        (Http::POST, "/v1/shelves/s/books", r#"{"nope":1}"#, "book.nope: `library.v1.Book` has no such field"),
        (Http::POST, "/v1/covers/one?second=x", "\"y\"", "first: another field of the same oneof"),
        (Http::GET, &deep, "", "messages nested too deep"),
        (Http::GET, "/v1/nothing", "", "NotFound"), (Http::GET, "/v1//books", "", "NotFound"),
        (Http::PUT, "/v1/books/x", "", "Method { allow: [GET] }"), (Http::GET, "/library.v1.Library/GetBook", "", "Method { allow: [POST] }"),
        (Http::POST, "/v1/shelves/1/books/2", "", "Method { allow: [DELETE, GET, PATCH] }"),
    ];
    for (http, target, body, reason) in table {
        let error = request(&http, target, body).unwrap_err();
        assert!(error.contains(reason), "{http} {target}: {error}");
    }
}

#[test]
fn a_reply_is_json_or_one_field_of_it_or_raw() {
    let book = r#"{"book":{"title":"T"},"file":{"contentType":"text/plain","data":"aGk="},"numbers":[1,2],"text":"x"}"#;
    let mut proto = Vec::new();
    method("UnwrapBook")
        .reply_from_json(book.as_bytes(), &mut proto)
        .unwrap();
    let raw = |content_type: &str| ReplyContent::Raw {
        content_type: content_type.to_owned(),
    };
    #[rustfmt::skip]
    let table = [
        ("book", &*proto, ReplyContent::Json, r#"{"title":"T"}"#), ("book", &[], ReplyContent::Json, "{}"),
        ("numbers", &proto, ReplyContent::Json, "[1,2]"), ("numbers", &[], ReplyContent::Json, "[]"),
        ("text", &proto, ReplyContent::Json, r#""x""#), ("text", &[], ReplyContent::Json, r#""""#),
        ("time", &[], ReplyContent::Json, "null"), ("file", &proto, raw("text/plain"), "hi"), ("file", &[], raw(""), ""),
    ];
    for (field, proto, content, text) in table {
        let found = SCHEMA.find(&Http::GET, &format!("/v1/unwrap/x/{field}")).unwrap();
        let mut out = Vec::new();
        assert_eq!(found.reply(proto, &mut out).unwrap(), content);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(found.raw_reply(), field == "file");
    }
}

#[test]
fn raw_bodies_become_http_bodies() {
    let found = SCHEMA.find(&Http::PUT, "/v1/files/f").unwrap();
    assert_eq!(found.body(), BodyRule::Raw);
    let (mut proto, mut json) = (Vec::new(), Vec::new());
    found
        .request_raw(Some("note=n"), "image/png", b"\x00\xff", &mut proto)
        .unwrap();
    found.method().request_to_json(&proto, &mut json).unwrap();
    let expected = r#"{"name":"f","note":"n","file":{"contentType":"image/png","data":"AP8="}}"#;
    assert_eq!(String::from_utf8(json).unwrap(), expected);

    let echo = SCHEMA.find(&Http::POST, "/v1/echo").unwrap();
    assert_eq!(echo.body(), BodyRule::Raw);
    let (mut proto, mut out) = (Vec::new(), Vec::new());
    echo.request_raw(None, "text/plain", b"hello", &mut proto).unwrap();
    let raw = ReplyContent::Raw {
        content_type: "text/plain".to_owned(),
    };
    assert_eq!(echo.reply(&proto, &mut out).unwrap(), raw);
    assert_eq!(out, b"hello");

    let get = SCHEMA.find(&Http::GET, "/v1/books/x").unwrap();
    assert_eq!(get.body(), BodyRule::None);
    assert!(get.request_raw(None, "", b"", &mut Vec::new()).is_err());
}

#[test]
fn methods_say_what_they_are() {
    let get = method("GetBook");
    assert!(get.no_side_effects() && get.is_idempotent() && get.has_rule());
    assert_eq!(get.shape(), Shape::Unary);
    assert!(method("UpdateBook").is_idempotent() && !method("UpdateBook").no_side_effects());
    let plain = method("Plain");
    assert!(!plain.is_idempotent() && !plain.has_rule());
    assert_eq!(plain.shape(), Shape::Bidi);
    assert_eq!(method("StreamBooks").shape(), Shape::ServerStream);
    assert_eq!(method("Import").shape(), Shape::ClientStream);
    assert_eq!(plain.input().name(), "library.v1.Book");
    assert!(method("Echo").input().is_http_body());
}

/// A service with one rule.
fn with_rule(options: &str) -> Result<Schema, SchemaError> {
    let text = format!(
        "syntax = \"proto3\"; package t; import \"google/api/annotations.proto\";
         message M {{ string a = 1; M inside = 2; repeated string many = 3; map<string, string> map = 4; }}
         service S {{ rpc A(M) returns (M) {{ option (google.api.http) = {{ {options} }}; }}
                      rpc B(M) returns (M) {{ option (google.api.http) = {{ get: \"/taken/*\" }}; }} }}"
    );
    schema(&[("t.proto", &text)])
}

#[test]
fn t1_rules_that_do_not_fit_their_method_are_refused_with_the_reason() {
    #[rustfmt::skip]
    let table = [
        ("get: \"/{nope}\"", "variable `nope`: there is no such field"), ("get: \"/{a.b}\"", "only fields of single messages"),
        ("get: \"/{many}\"", "a list or a map cannot"), ("get: \"/{map}\"", "a list or a map cannot"), ("post: \"/x\" body: \"nope\"", "`t.M` has no field `nope`"),
        ("get: \"/x\" response_body: \"nope\"", "`t.M` has no field `nope`"), ("get: \"x\"", "begins with `/`"), ("custom: { kind: \"\" path: \"/x\" }", "no HTTP method"),
        ("get: \"/taken/{a}\"", "`/t.S/A` and `/t.S/B` both have the rule `GET /taken/*`"), ("get: \"/ok\" additional_bindings { get: \"/{nope}\" }", "nope"),
    ];
    for (options, reason) in table {
        let error = with_rule(options).unwrap_err().to_string();
        assert!(error.contains(reason), "{options}: {error}");
    }
    assert!(
        with_rule("get: \"/x\" additional_bindings { get: \"/x\" }").is_ok(),
        "twice the same says nothing new"
    );
    assert!(with_rule("get: \"/{inside.inside.a}\"").is_ok());
}

/// The HTTP request of a request message.
fn call(name: &str, json: &str) -> Result<String, String> {
    let method = method(name);
    let mut proto = Vec::new();
    method.request_from_json(json.as_bytes(), &mut proto).unwrap();
    let call = method.to_http(&proto).map_err(|error| error.to_string())?;
    let body = call.body.map_or_else(String::new, |body| {
        format!(" {}: {}", body.content_type, String::from_utf8_lossy(&body.data))
    });
    Ok(format!("{} {}{body}", call.method, call.path_and_query))
}

#[test]
fn a_message_becomes_the_request_of_its_rule() {
    #[rustfmt::skip]
    let table = [
        ("GetBook", r#"{"name":"shelves/1/books/a b%2Fc","revision":7,"all":true}"#, "GET /v1/shelves/1/books/a%20b%2Fc?revision=7&all=true"),
        ("ListBooks", r#"{"parent":"shelves/1","tags":["a","b&c"],"author":{"firstName":"X","pupilOf":{"lastName":"é"}},"years":[1,2],"archived":false,"least":"0","since":"2026-01-01T00:00:00Z","token":"+/8=","order":"OLDEST_FIRST"}"#,
            "GET /v1/shelves/1/books?tags=a&tags=b%26c&author.firstName=X&author.pupilOf.lastName=%C3%A9&since=2026-01-01T00%3A00%3A00Z&least=0&order=OLDEST_FIRST&years=1&years=2&token=%2B%2F8%3D&archived=false"),
        ("StreamBooks", r#"{"parent":"shelves/1"}"#, "GET /v1/shelves/1/books:stream"),
        ("CreateBook", r#"{"shelf":"a/b","book":{"title":"T"},"requestId":"r"}"#, r#"POST /v1/shelves/a%2Fb/books?requestId=r application/json: {"title":"T"}"#),
        ("UpdateBook", r#"{"book":{"name":"shelves/1/books/2","title":"T"}}"#, r#"PATCH /v1/shelves/1/books/2 application/json: {"title":"T"}"#),
        ("MoveBook", r#"{"name":"shelves/1/books/2","shelf":"s"}"#, r#"POST /v1/shelves/1/books/2:move application/json: {"shelf":"s"}"#),
        ("DeleteBook", r#"{"name":"shelves/a/b/c"}"#, "DELETE /v1/shelves/a/b/c"),
        ("Anything", r#"{"name":"x/y"}"#, "GET /v1/anything/x/y"),
        ("Head", r#"{"name":"x"}"#, "HEAD /v1/heads/x"),
        ("Plain", r#"{"title":"T"}"#, r#"POST /library.v1.Library/Plain application/json: {"title":"T"}"#),
        ("Put", r#"{"name":"f","file":{"contentType":"text/plain","data":"aGk="},"note":"n"}"#, "PUT /v1/files/f?note=n text/plain: hi"),
        ("Echo", r#"{"contentType":"text/plain","data":"aGk="}"#, "POST /v1/echo text/plain: hi"),
    ];
    for (name, json, request) in table {
        assert_eq!(call(name, json).as_deref(), Ok(request), "{name}");
    }
}

#[test]
fn a_message_that_does_not_fit_its_rule_is_refused_with_the_field() {
    #[rustfmt::skip]
    let table = [
        ("GetBook", r#"{"name":"books/2"}"#, "name: the value does not fit"), ("GetBook", "{}", "name: an empty value"),
        ("GetBook", r#"{"name":"shelves/../books/2"}"#, "name: `.` and `..`"), ("DeleteBook", r#"{"name":"shelves/a/.."}"#, "name: `.` and `..`"),
        ("ListBooks", r#"{"parent":"shelves/1","labels":{"a":"b"}}"#, "labels: a map"), ("ListBooks", r#"{"parent":"shelves/1","more":{"a":1}}"#, "more: a message"),
    ];
    for (name, json, reason) in table {
        let error = call(name, json).unwrap_err();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[test]
fn an_answer_becomes_the_reply_message() {
    #[rustfmt::skip]
    let table = [
        ("GetBook", r#"{"title":"T"}"#, r#"{"title":"T"}"#), ("GetBook", "", "{}"), ("UnwrapBook", r#"{"title":"T"}"#, r#"{"book":{"title":"T"}}"#),
        ("StreamBooks", r#""T""#, r#"{"title":"T"}"#), ("Put", "hi", r#"{"contentType":"text/x","data":"aGk="}"#),
    ];
    for (name, answer, reply) in table {
        let (mut proto, mut json) = (Vec::new(), Vec::new());
        method(name)
            .from_http_reply("text/x", answer.as_bytes(), &mut proto)
            .unwrap();
        method(name).reply_to_json(&proto, &mut json).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), reply, "{name}");
    }
    assert!(
        method("GetBook")
            .from_http_reply("text/html", b"<html>", &mut Vec::new())
            .is_err()
    );
}
