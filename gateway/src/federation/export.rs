//! Who at other sites may use a service.

use causeway_config::Export;

use crate::principal::{Principal, PrincipalKind};

/// Whether one of the exports lets a call of this site in, for this original caller.
///
/// An export that names callers lets in nobody who has not proven to be one of them at the site where it came in. That
/// site vouches for the name, so the name counts together with the site only.
pub fn allows(exports: &[Export], site: &str, principal: Option<&Principal>) -> bool {
    exports.iter().any(|export| {
        *export.site == *site
            && (export.callers.is_empty()
                || principal.is_some_and(|principal| export.callers.iter().any(|caller| is(principal, caller))))
    })
}

/// Whether a principal is the one that is written so: `sub:NAME`, or a SPIFFE id.
fn is(principal: &Principal, caller: &str) -> bool {
    match caller.strip_prefix("sub:") {
        Some(subject) => *principal.subject == *subject,
        // A SPIFFE id is in a certificate, or is the subject of a JWT-SVID; a user who gives himself such a name is neither.
        None => {
            *principal.subject == *caller && matches!(principal.kind, PrincipalKind::Certificate | PrincipalKind::Jwt)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_an_export_lets_in_the_sites_and_callers_it_names_and_no_caller_that_nobody_proved() {
        let export = |site: &str, callers: &[&str]| Export {
            site: site.into(),
            callers: callers.iter().map(ToString::to_string).collect(),
        };
        let named = export("azure", &["spiffe://azure.acme.example/x", "sub:alice"]);
        let of = |kind, subject| Some(Principal::new(kind, "issuer", subject));
        let alice = of(PrincipalKind::Jwt, "alice");
        let bob = of(PrincipalKind::Jwt, "bob");
        let x = of(PrincipalKind::Certificate, "spiffe://azure.acme.example/x");
        let fake = of(PrincipalKind::Basic, "spiffe://azure.acme.example/x");
        #[rustfmt::skip]
        let table = [
            (vec![],                                          "azure", &None,  false),
            (vec![export("azure", &[])],                      "azure", &None,  true),
            (vec![export("azure", &[])],                      "gcp",   &alice, false),
            (vec![export("azure", &[])],                      "",      &None,  false),
            (vec![export("azure", &[])],                      "Azure", &None,  false),
            (vec![named.clone()],                             "azure", &None,  false),
            (vec![named.clone()],                             "azure", &alice, true),
            (vec![named.clone()],                             "azure", &bob,   false),
            (vec![named.clone()],                             "azure", &x,     true),
            (vec![named.clone()],                             "azure", &fake,  false),
            (vec![named.clone()],                             "gcp",   &alice, false),
            (vec![named, export("azure", &[])],               "azure", &None,  true),
            (vec![export("gcp", &[]), export("azure", &[])],  "azure", &None,  true),
        ];
        for (exports, site, principal, allowed) in table {
            assert_eq!(
                allows(&exports, site, principal.as_ref()),
                allowed,
                "{exports:?} {site} {principal:?}"
            );
        }
    }
}
