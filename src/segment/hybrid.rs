//! Small numbers as Parquet's hybrid of runs and packed bits: dictionary indices, and the levels of nested values.
//!
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>: a run of one value is its length, shifted left
//! by one, and the value; packed bits are the number of groups of eight, shifted left with a one, and the bits, the first
//! value lowest.

/// A run pays from this length on; packed bits come in groups of as many.
const GROUP: usize = 8;

/// Appends the numbers, each of which takes at most `width` bits.
pub(super) fn encode(to: &mut Vec<u8>, numbers: &[u32], width: u8) {
    let mut rest = numbers;
    while !rest.is_empty() {
        let packed = packed_groups(rest) * GROUP;
        let (pack, after) = rest.split_at(packed.min(rest.len()));
        put_packed(to, pack, width);
        let run = run_length(after);
        if let Some(number) = after.first() {
            put_length(to, run << 1);
            to.extend(number.to_le_bytes().iter().take(usize::from(width.div_ceil(8))));
        }
        rest = after.get(run..).unwrap_or_default();
    }
}

/// How many groups come before the first that starts a run; the last may not be full.
fn packed_groups(numbers: &[u32]) -> usize {
    let groups = numbers.chunks(GROUP);
    groups.take_while(|group| group.len() < GROUP || group.iter().any(|number| Some(number) != group.first())).count()
}

fn run_length(numbers: &[u32]) -> usize {
    numbers.iter().take_while(|number| Some(*number) == numbers.first()).count()
}

fn put_packed(to: &mut Vec<u8>, numbers: &[u32], width: u8) {
    let groups = numbers.len().div_ceil(GROUP);
    if groups == 0 {
        return;
    }
    put_length(to, groups << 1 | 1);
    let end = to.len() + groups * usize::from(width);
    let (mut bits, mut filled) = (0_u64, 0_u32);
    for number in numbers {
        bits |= u64::from(*number) << filled;
        filled += u32::from(width);
        if filled >= u32::BITS {
            let [a, b, c, d, ..] = bits.to_le_bytes();
            to.extend([a, b, c, d]);
            bits >>= u32::BITS;
            filled -= u32::BITS;
        }
    }
    // What is left, and zeros up to the end of the last group.
    to.extend(bits.to_le_bytes());
    to.resize(end, 0);
}

fn put_length(to: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        to.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    to.push(length.to_le_bytes()[0]);
}

/// How many bits the numbers below `count` take; at least one, which every reader knows.
pub(super) fn width(count: usize) -> u8 {
    let bits = usize::BITS - count.saturating_sub(1).leading_zeros();
    u8::try_from(bits).unwrap_or(u8::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word for word what the format says.
    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut next = || {
            let (first, rest) = bytes.split_first()?;
            bytes = rest;
            Some(*first)
        };
        while numbers.len() < count {
            let (mut header, mut shift) = (0_usize, 0);
            loop {
                let byte = next().unwrap();
                header |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            if header & 1 == 0 {
                let bytes = (0..width.div_ceil(8)).map(|_| next().unwrap()).collect::<Vec<_>>();
                let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
                numbers.extend(std::iter::repeat_n(number, header >> 1));
            } else {
                let bits = (0..(header >> 1) * usize::from(width)).flat_map(|_| {
                    let byte = next().unwrap();
                    (0..8).map(move |bit| u32::from(byte >> bit & 1))
                });
                let bits: Vec<u32> = bits.collect();
                numbers.extend(
                    bits.chunks(usize::from(width))
                        .map(|bits| bits.iter().rev().fold(0, |number, bit| number << 1 | bit)),
                );
            }
        }
        assert!(next().is_none(), "nothing is left");
        numbers.truncate(count);
        numbers
    }

    #[test]
    fn numbers_of_every_width_read_back() {
        let mut draw = 1_u64;
        for width in 1..=32_u8 {
            let largest = u32::MAX >> (32 - width);
            for length in [0, 1, 7, 8, 9, 63, 64, 65, 1_000, 5_000] {
                let numbers: Vec<u32> = (0..length)
                    .map(|at| {
                        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        // Stretches of one value, of few and of many.
                        let bits = u32::try_from(draw >> 33).unwrap();
                        match at / 40 % 3 {
                            0 => largest,
                            1 => bits & largest & 1,
                            _ => bits & largest,
                        }
                    })
                    .collect();
                let mut bytes = Vec::new();
                encode(&mut bytes, &numbers, width);
                assert_eq!(decode(&bytes, width, length), numbers, "{length} of {width} bits");
            }
        }
    }

    #[test]
    fn what_is_the_same_throughout_takes_a_few_bytes() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &[3; 4_096], 2);
        assert_eq!(bytes, [0x80, 0x40, 3]);
    }

    #[test]
    fn widths_are_the_least_that_hold_the_numbers() {
        let widths = [0, 1, 2, 3, 4, 5, 256, 257].map(width);
        assert_eq!(widths, [1, 1, 1, 2, 2, 3, 8, 9]);
    }
}
