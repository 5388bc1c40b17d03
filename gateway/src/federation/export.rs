//! Who at other sites may use a service.

use causeway_config::Export;

/// Whether one of the exports lets a call of this site in.
///
/// An export that names callers lets in nobody whose name is not known, and no caller's name is known to be true yet:
/// clients are not authenticated at the entry.
pub fn allows(exports: &[Export], site: &str) -> bool {
    exports
        .iter()
        .any(|export| *export.site == *site && export.callers.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_an_export_lets_in_the_sites_it_names_and_no_caller_that_nobody_proved() {
        let export = |site: &str, callers: &[&str]| Export {
            site: site.into(),
            callers: callers.iter().map(ToString::to_string).collect(),
        };
        let named = export("azure", &["spiffe://azure.acme.example/x", "sub:alice"]);
        #[rustfmt::skip]
        let table = [
            (vec![],                                          "azure", false),
            (vec![export("azure", &[])],                      "azure", true),
            (vec![export("azure", &[])],                      "gcp",   false),
            (vec![export("azure", &[])],                      "",      false),
            (vec![export("azure", &[])],                      "Azure", false),
            (vec![named.clone()],                             "azure", false),
            (vec![named, export("azure", &[])],               "azure", true),
            (vec![export("gcp", &[]), export("azure", &[])],  "azure", true),
        ];
        for (exports, site, allowed) in table {
            assert_eq!(allows(&exports, site), allowed, "{exports:?} {site}");
        }
    }
}
