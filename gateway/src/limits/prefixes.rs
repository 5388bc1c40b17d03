//! Where the messages of a gRPC stream lie (gRPC over HTTP/2, "Length-Prefixed-Message"), without taking them apart: a flag
//! byte and a big-endian length of four bytes are read where they pass, and payloads are skipped.

/// Flag byte plus length.
const PREFIX: usize = 5;

/// Follows one direction.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    prefix: [u8; PREFIX],
    gathered: usize,
    /// Bytes of the present message that are still to come.
    left: u64,
    messages: u64,
}

/// A message that is too large, and where in this input it begins; 0 where it began in an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes before it.
    pub good: usize,
}

impl Prefixes {
    /// Messages that have ended.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether a message is under way.
    pub fn is_inside(&self) -> bool {
        self.left > 0
    }

    /// Bytes at the end of what has come that are the beginning of a prefix.
    pub fn header(&self) -> usize {
        self.gathered
    }

    /// Follows the next bytes. Costs a few operations per message.
    ///
    /// # Errors
    /// At the first message that says it is larger than `most`.
    pub fn pass(&mut self, bytes: &[u8], most: u64) -> Result<(), TooLarge> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.left > 0 {
                let take = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                self.left -= take as u64;
                rest = &rest[take..];
                if self.left == 0 {
                    self.messages += 1;
                }
                continue;
            }
            let good = (bytes.len() - rest.len()).saturating_sub(self.gathered);
            let take = (PREFIX - self.gathered).min(rest.len());
            self.prefix[self.gathered..self.gathered + take].copy_from_slice(&rest[..take]);
            self.gathered += take;
            rest = &rest[take..];
            if self.gathered == PREFIX {
                let [_, a, b, c, d] = self.prefix;
                self.gathered = 0;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
                if self.left > most {
                    return Err(TooLarge { good });
                }
                if self.left == 0 {
                    self.messages += 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for length in lengths {
            bytes.push(0);
            bytes.extend(u32::try_from(*length).unwrap().to_be_bytes());
            bytes.extend(std::iter::repeat_n(7, *length));
        }
        bytes
    }

    #[test]
    fn g1_a_length_that_lies_is_found_at_its_prefix() {
        let mut bytes = stream(&[3]);
        bytes.extend([0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(Prefixes::default().pass(&bytes, 10), Err(TooLarge { good: 8 }));
        let mut follow = Prefixes::default();
        follow.pass(&bytes[..10], 10).unwrap();
        assert_eq!((follow.messages(), follow.header()), (1, 2));
        assert_eq!(follow.pass(&bytes[10..], 10), Err(TooLarge { good: 0 }));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_every_message_counts_once(
            lengths in prop::collection::vec(0usize..40, 0..20), cuts in prop::collection::vec(1usize..9, 1..50),
        ) {
            let bytes = stream(&lengths);
            let (mut follow, mut rest) = (Prefixes::default(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                prop_assert!(follow.pass(now, 40).is_ok());
                rest = later;
            }
            prop_assert_eq!(follow.messages(), lengths.len() as u64);
            prop_assert_eq!(follow.header(), 0);
        }
    }
}
