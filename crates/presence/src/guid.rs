//! The text of a GUID, read and written eight digits at a time.
//!
//! A batch read has 650 of them in its body and writes each into its answer. Digit by digit, with a table, that was a sixth
//! of all it did. Here eight digits are the eight bytes of one number, and all of them go through the same few
//! operations: what is added to a byte never carries into the next one.

/// Characters of the hyphenated form.
pub(crate) const CHARS: usize = 36;

/// The same byte eight times.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The bits of a hyphenated GUID in either case; `None` for anything else.
pub(crate) fn read(text: &[u8; CHARS]) -> Option<u128> {
    let hyphens = [text[8], text[13], text[18], text[23]];
    let (first, second) = (digits(text, 0, 4), digits(text, 9, 14));
    let (third, fourth) = (digits(text, 19, 24), digits(text, 28, 32));
    let wrong = first.1 | second.1 | third.1 | fourth.1;
    if wrong != 0 || hyphens != [b'-'; 4] {
        return None;
    }
    let half = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    Some(u128::from(half(first.0, second.0)) << 64 | u128::from(half(third.0, fourth.0)))
}

/// What the four digits at each of two places say, and whether they are no digits: zero if they are.
fn digits(text: &[u8; CHARS], at: usize, and_at: usize) -> (u32, u64) {
    let four = |at: usize| u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]);
    let text = u64::from(four(and_at)) << 32 | u64::from(four(at));
    // Letters have this bit, digits do not.
    let are_letters = text >> 6 & each(1);
    let values = (text & each(0x0f)) + are_letters * 9;
    // They are right if they are what these values are written as. A digit has the bit that makes a letter a small one.
    let lacks_bit = !(text | text >> 1) & each(0x20);
    let wrong = (values & each(0xf0)) | (written(values) ^ (text | each(0x20))) | lacks_bit;
    let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    (((fours | fours >> 16) as u32).swap_bytes(), wrong)
}

/// Eight values below sixteen as digits, letters small.
fn written(values: u64) -> u64 {
    let are_letters = (values + each(6)) >> 4 & each(1);
    values + each(b'0') + are_letters * u64::from(b'a' - 10 - b'0')
}

/// The hyphenated form, in small letters.
pub(crate) fn write(bits: u128) -> [u8; CHARS] {
    let mut text = [b'-'; CHARS];
    let (first, second) = (spelled((bits >> 96) as u32), spelled((bits >> 64) as u32));
    let (third, fourth) = (spelled((bits >> 32) as u32), spelled(bits as u32));
    text[..8].copy_from_slice(&first);
    text[9..13].copy_from_slice(&second[..4]);
    text[14..18].copy_from_slice(&second[4..]);
    text[19..23].copy_from_slice(&third[..4]);
    text[24..28].copy_from_slice(&third[4..]);
    text[28..].copy_from_slice(&fourth);
    text
}

fn spelled(number: u32) -> [u8; 8] {
    let fours = u64::from(number.swap_bytes());
    let pairs = (fours | fours << 16) & 0x0000_ffff_0000_ffff;
    let ones = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (ones >> 4 | ones << 8) & each(0x0f);
    written(values).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_byte_in_each_place_is_read_as_the_library_reads_it() {
        let good = *b"3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4dEF";
        for place in 0..CHARS {
            for byte in 0..=u8::MAX {
                let mut text = good;
                text[place] = byte;
                let theirs = core::str::from_utf8(&text).ok();
                let theirs = theirs.and_then(|text| text.parse::<uuid::fmt::Hyphenated>().ok());
                let theirs = theirs.map(|guid| guid.into_uuid().as_u128());
                assert_eq!(read(&text), theirs, "{byte} at {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn guids_are_written_as_the_library_writes_them_and_read_back(bits: u128) {
            let mut theirs = [0; CHARS];
            Uuid::from_u128(bits).as_hyphenated().encode_lower(&mut theirs);
            prop_assert_eq!(write(bits), theirs);
            prop_assert_eq!(read(&theirs), Some(bits));
            theirs.make_ascii_uppercase();
            prop_assert_eq!(read(&theirs), Some(bits));
        }
    }
}
