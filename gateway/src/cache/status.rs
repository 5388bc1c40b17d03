//! What the cache did for a call, for the counters and for `cache-status` (RFC 9211).

/// Why the service was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// The cache has no part in such a call.
    Bypass,
    /// What is kept is too old.
    Stale,
    /// Nothing is kept.
    Uri,
    /// What is kept does not fit the call's fields.
    Vary,
}

impl Missed {
    fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Stale => "stale",
            Self::Uri => "uri-miss",
            Self::Vary => "vary-miss",
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Another call's reply was waited for.
    Collapsed(Missed),
    /// A kept reply answered, fresh for so many seconds.
    Hit(i64),
    /// The service was asked.
    Missed(Missed),
    /// A kept reply answered, and the service has said that it is still right.
    Revalidated,
    /// A kept reply answered that has been stale for as many seconds as this is below zero.
    Stale(i64),
    /// The service was asked, and its reply is kept.
    Stored(Missed),
}

impl Told {
    /// Labels of the counters, by [`label_index`](Self::label_index).
    pub(super) const LABELS: [&'static str; 7] =
        ["hit", "stale", "revalidated", "collapsed", "miss", "stored", "bypass"];

    /// Which counter it is.
    pub(super) fn label_index(self) -> usize {
        match self {
            Self::Hit(_) => 0,
            Self::Stale(_) => 1,
            Self::Revalidated => 2,
            Self::Collapsed(_) => 3,
            Self::Missed(Missed::Bypass) => 6,
            Self::Missed(_) => 4,
            Self::Stored(_) => 5,
        }
    }

    /// The same with how long the reply stays fresh, where that is told.
    pub(super) fn with_ttl(self, ttl: i64) -> Self {
        match self {
            Self::Hit(_) => Self::Hit(ttl),
            Self::Stale(_) => Self::Stale(ttl),
            other => other,
        }
    }

    /// The member of `cache-status` for the cache of this name.
    pub(super) fn field(self, name: &str) -> String {
        match self {
            Self::Hit(ttl) | Self::Stale(ttl) => format!("{name}; hit; ttl={ttl}"),
            Self::Revalidated => format!("{name}; fwd=stale; fwd-status=304"),
            Self::Collapsed(missed) => format!("{name}; fwd={}; collapsed", missed.token()),
            Self::Missed(missed) => format!("{name}; fwd={}", missed.token()),
            Self::Stored(missed) => format!("{name}; fwd={}; stored", missed.token()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_label_and_a_member_of_its_own() {
        for (told, label, field) in [
            (Told::Hit(9), "hit", "c; hit; ttl=9"),
            (Told::Stale(0).with_ttl(-2), "stale", "c; hit; ttl=-2"),
            (Told::Revalidated, "revalidated", "c; fwd=stale; fwd-status=304"),
            (Told::Collapsed(Missed::Uri), "collapsed", "c; fwd=uri-miss; collapsed"),
            (Told::Missed(Missed::Vary), "miss", "c; fwd=vary-miss"),
            (Told::Missed(Missed::Bypass), "bypass", "c; fwd=bypass"),
            (Told::Stored(Missed::Stale), "stored", "c; fwd=stale; stored"),
        ] {
            assert_eq!(
                (Told::LABELS[told.label_index()], told.field("c").as_str()),
                (label, field)
            );
        }
    }
}
