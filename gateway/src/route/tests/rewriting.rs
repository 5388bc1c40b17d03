//! Rewrites and redirects.

use causeway_config::Rewrite;
use causeway_protocols::TargetError;
use proptest::prelude::*;

use super::*;

fn rewritten(matches: Match, rewrite: Rewrite, url: &str) -> Result<String, TargetError> {
    let table = RouteTable::build(&[Route {
        rewrite: Some(rewrite),
        ..route(matches)
    }]);
    let call = head("GET", url);
    let found = table.find(&call).unwrap();
    super::rewrite(found.route, &found.captures, &call.target).map(|target| target.path_and_query().to_owned())
}

#[test]
fn a_rewrite_replaces_the_path_and_keeps_the_query() {
    let template = |text: &str| Rewrite::Template(text.to_owned());
    let strip = |text: &str| Rewrite::StripPrefix(text.to_owned());
    #[rustfmt::skip]
    let cases = [
        (pattern("/a/{x}/{r*}"), template("/n/{r*}/{x}"), "h/a/1/b/c?q=%2f", Ok("/n/b/c/1?q=%2f")),
        (pattern("/a/{r*}"), template("/n/{r*}"), "h/a", Ok("/n/")),
        (pattern("/a/{r*}"), template("/{r}"), "h/a/b", Ok("/b")),
        (pattern("/a/{r*}"), template("{r*}"), "h/a/b", Err(TargetError::Form)),
        (pattern("/a/{x}"), template("/n/{nothing}/"), "h/a/b", Ok("/n/")),
        (pattern("/a/{x}"), template("/.{x}"), "h/a/.", Err(TargetError::Form)),
        (regex("/u/(?<id>[0-9]+)(/.*)?"), template("/p/{id}{2}"), "h/u/7/x", Ok("/p/7/x")),
        (regex("/u/(?<id>[0-9]+)(/.*)?"), template("/p/{id}{2}"), "h/u/7", Ok("/p/7")),
        (regex("/(%2)5(F.*)"), template("/{1}{2}"), "h/%25Fx", Err(TargetError::Ambiguous)),
        (regex(r"/(\.)-(\.)/.*"), template("/{1}{2}/x"), "h/.-./a", Err(TargetError::Climbs)),
        (prefix("/api"), strip("/api"), "h/api/x?y", Ok("/x?y")),
        (prefix("/api"), strip("/api/"), "h/api/x", Ok("/x")),
        (prefix("/api"), strip("/api"), "h/api", Ok("/")),
        (prefix("/"), strip("/api"), "h/apix", Ok("/apix")),
    ];
    for (matches, rewrite, url, expected) in cases {
        // `.` segments vanish before routing, so this one has no route at all.
        if url.ends_with("/.") {
            assert!(table([matches]).find(&head("GET", url)).is_err());
            continue;
        }
        let text = format!("{rewrite:?} {url}");
        assert_eq!(rewritten(matches, rewrite, url), expected.map(str::to_owned), "{text}");
    }
}

fn located(matches: Match, template: &str, url: &str) -> Result<String, TargetError> {
    let table = table([matches]);
    let call = head("GET", url);
    let found = table.find(&call).unwrap();
    location(template, found.route, &found.captures, &call.target)
}

#[test]
fn s14_a_redirect_leads_only_where_the_template_says() {
    #[rustfmt::skip]
    let cases = [
        // template, url under /a/{x}/{r*}, location
        ("https://new.example/{r*}", "h/a/1/b/c", Ok("https://new.example/b/c")),
        ("https://{host}{path}?{query}", "h:80/a/1?q=1", Ok("https://h/a/1?q=1")),
        ("https://{host}{path}?{query}", "h/a/1", Ok("https://h/a/1")),
        ("https://{host}/", "/a/1", Err(TargetError::Authority)),
        ("https://new.example{r*}", "h/a/1/.evil.example", Ok("https://new.example/.evil.example")),
        ("https://new.example{r*}", "h/a/1/@evil.example", Ok("https://new.example/@evil.example")),
        ("https://new.example{r*}", "h/a/1/:80@evil", Ok("https://new.example/:80@evil")),
        ("https://new.example{r*}{x}", "h/a/:80", Ok("https://new.example/:80")),
        ("https://{x}.shop.example/{r*}", "h/a/eu/b", Ok("https://eu.shop.example/b")),
        ("https://{x}.shop.example/", "h/a/evil@b/b", Err(TargetError::Authority)),
        ("https://{x}.shop.example/", "h/a/evil%3Fb/b", Err(TargetError::Authority)),
        ("https://{x}/", "h/a/evil.example", Err(TargetError::Authority)),
        ("/n/{r*}", "h/a/1/b", Ok("/n/b")),
        ("/{r*}", "h/a/1//evil.example", Ok("/evil.example")),
        ("{r*}", "h/a/1/evil.example", Ok("/evil.example")),
        ("{r*}", "h/a/1/https://evil.example", Ok("/https:/evil.example")),
        ("//{r*}", "h/a/1/evil.example", Ok("/evil.example")),
        ("//evil.example/x", "h/a/1", Ok("/evil.example/x")),
        ("{path}", "h/a/1", Ok("/a/1")),
        ("{query}", "h/a/1?/evil.example", Ok("/evil.example")),
        ("{query}", "h/a/1?\\evil.example", Ok("/%5Cevil.example")),
        ("/{query}", "h/a/1?\\\\evil", Ok("/%5C%5Cevil")),
        ("/x\r\nset-cookie: a", "h/a/1", Ok("/x%0D%0Aset-cookie:%20a")),
        ("/caf\u{e9}", "h/a/1", Ok("/caf%C3%A9")),
        ("/{open", "h/a/1", Ok("/%7Bopen")),
    ];
    for (template, url, expected) in cases {
        let found = located(pattern("/a/{x}/{r*}"), template, url);
        assert_eq!(found, expected.map(str::to_owned), "{template} {url}");
    }
}

proptest! {
    #[test]
    fn s14_no_redirect_breaks_its_line_or_names_another_host(
        template in "(https://a\\.example|/|)[a-z{}/?.]{0,6}(\\{x\\}|\\{r\\*\\}|\\{query\\}|\\{path\\}){0,3}[/a-z.]{0,3}",
        path in "/a/[a-z.:@;,%]{1,6}(/[a-z./:@\\\\]{0,8})?(\\?[a-z/\\\\@:]{0,6})?",
    ) {
        let parsed = Target::parse(Authority::parse(b"h").unwrap(), path.as_bytes());
        // About half are refused at the edge.
        let Ok(target) = parsed else { return Ok(()) };
        let mut call = head("GET", "h/");
        call.target = target;
        let table = table([pattern("/a/{x}/{r*}"), Match::default()]);
        let found = table.find(&call).unwrap();
        if let Ok(location) = location(&template, found.route, &found.captures, &call.target) {
            prop_assert!(location.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'\\'), "{}", location);
            if let Some(rest) = location.strip_prefix("https://") {
                let host = rest.split(['/', '?', '#']).next().unwrap();
                prop_assert!(host.starts_with("a.example") && !host.contains(['@', ':']), "{}", location);
            } else {
                prop_assert!(location.starts_with('/') && !location.starts_with("//"), "{}", location);
            }
        }
    }

    #[test]
    fn rewriting_never_panics_and_yields_a_normal_path(
        template in "[a-z{}/?.%*0-9]{0,12}",
        path in "/[a-z0-9./%;]{0,12}",
    ) {
        if let Ok(target) = Target::parse(Authority::default(), path.as_bytes()) {
            let mut call = head("GET", "h/");
            call.target = target;
            for matches in [pattern("/{x}/{r*}"), regex("/(.?)(.*)"), prefix("/")] {
                let table = RouteTable::build(&[Route {
                    rewrite: Some(Rewrite::Template(template.clone())),
                    ..route(matches)
                }]);
                if let Ok(found) = table.find(&call)
                    && let Ok(target) = rewrite(found.route, &found.captures, &call.target)
                {
                    let again = Target::parse(Authority::default(), target.path().as_bytes()).unwrap();
                    prop_assert_eq!(again.path(), target.path());
                }
            }
        }
    }
}
