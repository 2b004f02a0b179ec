//! SHA-256 of several messages side by side.
//!
//! A round waits for the one before it, and a processor with SHA instructions has nothing else to do meanwhile. The next
//! block of another message does not wait: taking blocks in turns lets the processor work ahead on it, which makes four
//! messages of a kilobyte a quarter cheaper than one after the other. The digests are the same.

use sha2::compress256;

use crate::model::Sha256;

/// Messages that take turns: with more, nothing is gained.
const ABREAST: usize = 4;
/// Bytes of a block.
const BLOCK: usize = 64;
/// Where the length stands in the last block.
const LENGTH_AT: usize = BLOCK - size_of::<u64>();
/// The length in bits of two digests and a byte before them.
const PAIR_BITS: u16 = 8 * (2 * 32 + 1);
/// FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The digest of each message, in their order. The messages are padded in place.
pub(super) fn digests(messages: &mut [&mut Vec<u8>]) -> Vec<Sha256> {
    let mut digests = Vec::with_capacity(messages.len());
    for messages in messages.chunks_mut(ABREAST) {
        let mut states = [INITIAL; ABREAST];
        messages.iter_mut().for_each(|message| pad(message));
        let most = messages.iter().map(|message| message.len() / BLOCK).max().unwrap_or(0);
        for at in 0..most {
            for (message, state) in messages.iter().zip(&mut states) {
                if let Some(block) = message.as_chunks::<BLOCK>().0.get(at) {
                    compress256(state, std::slice::from_ref(block.into()));
                }
            }
        }
        digests.extend(messages.iter().zip(states).map(|(_, state)| digest(state)));
    }
    digests
}

/// The digest of each two digests that stand side by side, with a byte before them; what is left over has none.
pub(super) fn pairs(prefix: u8, hashes: &[Sha256]) -> Vec<Sha256> {
    let (pairs, _) = hashes.as_chunks::<2>();
    let mut digests = Vec::with_capacity(pairs.len());
    for pairs in pairs.chunks(ABREAST) {
        let mut blocks = [[[0; BLOCK]; 2]; ABREAST];
        blocks.iter_mut().zip(pairs).for_each(|(blocks, pair)| put_pair(blocks, prefix, pair));
        let mut states = [INITIAL; ABREAST];
        for at in 0..2 {
            for ((blocks, state), _) in blocks.iter().zip(&mut states).zip(pairs) {
                if let Some(block) = blocks.get(at) {
                    compress256(state, std::slice::from_ref(block.into()));
                }
            }
        }
        digests.extend(pairs.iter().zip(states).map(|(_, state)| digest(state)));
    }
    digests
}

/// The message of a pair is a byte too long for one block.
fn put_pair([first, second]: &mut [[u8; BLOCK]; 2], prefix: u8, [left, right]: &[Sha256; 2]) {
    let [place, rest @ ..] = first;
    *place = prefix;
    let (before, after) = rest.split_at_mut(left.0.len());
    let [right @ .., over] = &right.0;
    before.copy_from_slice(&left.0);
    after.copy_from_slice(right);
    let [place, one, .., high, low] = second;
    (*place, *one) = (*over, 0x80);
    [*high, *low] = PAIR_BITS.to_be_bytes();
}

/// FIPS 180-4 §5.1.1: a one, zeros, and the length in bits, so that only whole blocks are left.
fn pad(message: &mut Vec<u8>) {
    let bits = (message.len() as u64).wrapping_mul(8);
    message.push(0x80);
    let open = message.len() % BLOCK;
    let zeros = if open <= LENGTH_AT { LENGTH_AT - open } else { BLOCK + LENGTH_AT - open };
    message.resize(message.len() + zeros, 0);
    message.extend_from_slice(&bits.to_be_bytes());
}

fn digest(state: [u32; 8]) -> Sha256 {
    let mut bytes = [0; 32];
    for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *place = word.to_be_bytes();
    }
    Sha256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_pair_is_that_of_the_byte_and_both() {
        let hashes: Vec<Sha256> = (0..23_u8).map(|number| Sha256::of(&[number])).collect();
        for count in 0..=hashes.len() {
            let each = hashes[..count].chunks_exact(2);
            let wanted: Vec<Sha256> =
                each.map(|pair| Sha256::of(&[&[9][..], &pair[0].0, &pair[1].0].concat())).collect();
            assert_eq!(pairs(9, &hashes[..count]), wanted);
        }
    }

    #[test]
    fn each_digest_is_that_of_its_message_alone_whatever_lengths_stand_side_by_side() {
        let lengths = (0..200).chain([1_000, 0, 4_096, 1, 63, 64, 65, 119, 120, 70_000, 3]);
        let messages: Vec<Vec<u8>> =
            lengths.map(|length: u32| (0..length).map(|at| (at * 7 + length).to_le_bytes()[0]).collect()).collect();
        let wanted: Vec<Sha256> = messages.iter().map(|message| Sha256::of(message)).collect();
        for count in [0, 1, 2, 3, 4, 5, messages.len()] {
            let mut messages = messages.clone();
            let mut abreast: Vec<&mut Vec<u8>> = messages.iter_mut().take(count).collect();
            assert_eq!(digests(&mut abreast), wanted[..count]);
        }
    }
}
