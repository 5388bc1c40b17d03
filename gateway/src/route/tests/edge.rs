//! Routing of what clients really send, by configurations as people write them.

use proptest::prelude::*;

use super::*;

/// Spellings of `/admin/x` that some server or other takes for it.
#[rustfmt::skip]
const SPELLINGS: &[&str] = &[
    "/admin/x", "//admin/x", "/./admin/x", "/admin//x", "/admin/./x", "/%61dmin/x", "/%61%64%6d%69%6e/x", "/admin/%78",
    "/admin%2fx", "/admin%2Fx", "/admin%5cx", "/admin\\x", "\\admin\\x", "/x/../admin/x", "/x/%2e%2e/admin/x",
    "/x/.%2e/admin/x", "/x/..;/admin/x", "/x/..;a=b/admin/x", "/;/admin/x", "/;a/admin/x", "/admin;/x", "/admin;a=b/x",
    "/admin%3b/x", "/admin%00/x", "/admin/x%00", "/admin\u{0}/x", "/admin%09/x", "/admin%20/x", "/admin /x", "/admin#/x",
    "/admin%23/x", "/admin?/x", "/admin%3f/x", "/Admin/x", "/ADMIN/x", "/admin./x", "/admin%2e/x", "/admin%252fx",
    "/%2561dmin/x", "/%c0%afadmin/x", "/%e0%80%afadmin/x", "/%c1%a1dmin/x", "/\u{ff41}dmin/x", "/%ef%bd%81dmin/x",
    "/%u0061dmin/x", "/admin/../admin/x", "/admin/x/..", "/admin/..", "/admin/.", "/admin", "/admin/", "admin/x", "",
    "/%2e/admin/x", "/%2e%2fadmin/x", "/.//admin/x", "/%2fadmin/x", "%2fadmin/x", "/admin%0d%0ax", "/admin\r\n/x",
    "http://h/admin/x", "*", "/admin/x?a=/../b", "/admin%", "/admin%2", "/admin%zz",
];

#[test]
fn s10_what_was_decided_on_is_what_is_forwarded() {
    let table = table([prefix("/admin"), prefix("/")]);
    let mut admin = Vec::new();
    for raw in SPELLINGS {
        // Refused at the edge: nothing is decided and nothing is forwarded.
        let Ok(target) = Target::parse(Authority::parse(b"h").unwrap(), raw.as_bytes()) else {
            continue;
        };
        let mut call = head("GET", "h/");
        call.target = target;
        let Ok(found) = table.find(&call) else {
            assert_eq!(*raw, "*", "only `*` has no route here");
            continue;
        };
        let forwarded = rewrite(found.route, &found.captures, &call.target).unwrap();
        assert_eq!(forwarded.path_and_query(), call.target.path_and_query(), "{raw}");
        // Whoever reads the forwarded path by the letter comes to the same decision.
        let path = forwarded.path();
        let below = path == "/admin" || path.starts_with("/admin/");
        assert_eq!(found.index == 0, below, "{raw} goes out as {path}");
        if below {
            admin.push(*raw);
        }
    }
    #[rustfmt::skip]
    assert_eq!(admin, [
        "/admin/x", "//admin/x", "/./admin/x", "/admin//x", "/admin/./x", "/%61dmin/x", "/%61%64%6d%69%6e/x", "/admin/%78",
        "/admin?/x", "/admin/.", "/admin", "/admin/", "/%2e/admin/x", "/.//admin/x", "/admin/x?a=/../b",
    ]);
}

proptest! {
    #[test]
    fn s10_a_forwarded_call_takes_the_same_route_once_more(raw in "/[a-c%2e5fF;./A?]{0,16}") {
        let table = table([prefix("/a"), pattern("/{x}/b"), pattern("/b/{r*}"), regex("/[^/]+/c.*"), prefix("/")]);
        if let Ok(target) = Target::parse(Authority::default(), raw.as_bytes()) {
            let mut call = head("GET", "h/");
            call.target = target;
            let found = table.find(&call).unwrap();
            let forwarded = rewrite(found.route, &found.captures, &call.target).unwrap();
            let mut again = call.clone();
            again.target = Target::parse(Authority::default(), forwarded.path_and_query().as_bytes()).unwrap();
            prop_assert_eq!(again.target.path_and_query(), call.target.path_and_query());
            prop_assert_eq!(table.find(&again).unwrap().index, found.index);
        }
    }
}

const WRITTEN: &str = r#"
[site]
name = "aws"
trust_domain = "aws.acme.example"

[[listeners]]
name = "public"
bind = "127.0.0.1:0"

[[services]]
name = "orders"
protocol = "http"
endpoints = "127.0.0.1:1"

[[routes]]
match = { path_prefix = "/" }
to = "orders"

[[routes]]
match = { host = "*.acme.example", path = "/v1/orders/{id}", methods = ["GET"] }
to = "orders"
rewrite = "/orders/{id}"

[[routes]]
match = { host = "api.acme.example", path = "/v1/orders/{rest*}" }
to = "orders"
rewrite = "/all/{rest*}"

[[routes]]
match = { path_regex = "/v(?<version>[0-9]+)/.*" }
to = "orders"
rewrite = "/version/{version}"

[[routes]]
match = { path = "/" }
to = "orders"

[[routes]]
match = { path = "/docs/" }
redirect = { status = 308, location = "https://docs.acme.example{path}" }

[[routes]]
match = { grpc = "shop.Orders/Get" }
to = "orders"
"#;

#[test]
fn routes_as_people_write_them_are_found_and_rewritten() {
    let config = causeway_config::load_str("aws.toml", WRITTEN).unwrap();
    let table = RouteTable::build(&config.routes);
    #[rustfmt::skip]
    let cases = [
        ("GET", "api.acme.example/v1/orders/7", 2, "/all/7"),
        ("GET", "shop.acme.example/v1/orders/7", 1, "/orders/7"),
        ("PUT", "shop.acme.example/v1/orders/7", 3, "/version/1"),
        ("GET", "acme.example/v22/x", 3, "/version/22"),
        ("GET", "h/", 4, "/"),
        ("GET", "h/docs/", 5, "/docs/"),
        ("GET", "h/docs", 0, "/docs"),
        ("POST", "h/shop.Orders/Get", 6, "/shop.Orders/Get"),
        ("GET", "h/shop.Orders/Get", 0, "/shop.Orders/Get"),
    ];
    for (method, url, index, forwarded) in cases {
        let call = head(method, url);
        let found = table.find(&call).unwrap();
        assert_eq!(found.index, index, "{method} {url}");
        let target = rewrite(found.route, &found.captures, &call.target).unwrap();
        assert_eq!(target.path(), forwarded, "{method} {url}");
    }
}
