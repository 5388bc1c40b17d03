//! A body that both ends can make for themselves, and a checksum to compare bodies by.

use bytes::Bytes;

/// Period of [`pattern`]: a prime, so that a shifted or repeated block shows.
const PERIOD: usize = 251;

/// The longest single piece of [`pattern`]: whole periods, a little under 64 KiB.
pub(super) const PIECE: usize = PERIOD * 256;

/// The byte of `/bytes/N` at each place is its place modulo 251.
pub fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|place| (place % PERIOD) as u8)
        .collect::<Vec<u8>>()
        .into()
}

/// CRC-32 (ISO-HDLC, as in zlib) continued over `data`; begin with 0.
pub fn crc32(so_far: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!so_far, |crc, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        TABLE[index as usize] ^ (crc >> 8)
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                0xedb8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};
