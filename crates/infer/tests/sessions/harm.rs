//! What can happen to a frame on its way, and what whoever receives it must say.

use std::ops::Range;

use phineus_infer::ProtocolError;
use phineus_infer::store::StoreError;
use phineus_kernel::wire::PeerMisbehaved;
use phineus_mpc::compare::CompareError;
use phineus_net::{ChannelError, FRAME_HEADER};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::tap::Frame;

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Loses its second half; the header states the new length.
    Shorten,
    /// Loses its second half; the header states the old length.
    Cut,
    /// Gains some bytes; the header states the new length.
    Lengthen,
    /// Some bytes follow it that belong to no frame.
    Trail,
    /// One bit of the payload (of the tag where there is none) is flipped.
    Flip,
    /// One bit of the header is flipped.
    FlipHeader,
    /// Arrives twice.
    Repeat,
    /// Never arrives.
    Drop,
    /// Arrives behind the next one.
    Swap,
    /// Is replaced by random bytes.
    Garbage,
    /// Is replaced by the notice that the sender gives up.
    Abort,
    /// The connection is closed instead.
    Close,
    /// Neither it nor anything behind it arrives, and the connection stays open.
    Stall,
}

/// What a party says of the other one when it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This message was not due.
    Order,
    /// It has not the length that the plan calls for.
    Length,
    /// It closed the connection.
    Closed,
    /// It said nothing.
    Silent,
    /// It gave up and said why.
    Stopped,
    /// What it says cannot be.
    Contents,
}

impl Harm {
    pub(crate) const ALL: [Self; 13] = [
        Self::Shorten,
        Self::Cut,
        Self::Lengthen,
        Self::Trail,
        Self::Flip,
        Self::FlipHeader,
        Self::Repeat,
        Self::Drop,
        Self::Swap,
        Self::Garbage,
        Self::Abort,
        Self::Close,
        Self::Stall,
    ];

    /// Whether the frame itself arrives as it was sent.
    pub(crate) fn is_behind(self) -> bool {
        matches!(self, Self::Repeat | Self::Trail)
    }

    /// What the receiver may say; `last`: nothing comes behind the frame, `loose`: the plan does not know its length.
    pub(crate) fn verdicts(self, frame: &Frame, last: bool, loose: bool) -> &'static [Verdict] {
        use Verdict::{Closed, Contents, Length, Order, Silent, Stopped};
        let empty = frame.payload().is_empty();
        match self {
            Self::Shorten | Self::Cut if empty => &[Order, Silent],
            Self::Shorten | Self::Lengthen if loose => &[Contents],
            Self::Shorten | Self::Lengthen => &[Length],
            Self::Cut => &[Order, Contents, Silent],
            Self::Trail | Self::Repeat => &[Order],
            Self::Flip if empty => &[Order],
            Self::Flip => &[Contents, Length, Order, Stopped],
            // A welcome that claims to be longer than it is.
            Self::FlipHeader if loose => &[Order, Length, Contents, Silent],
            Self::FlipHeader => &[Order, Length],
            Self::Drop | Self::Swap if last => &[Silent],
            Self::Drop | Self::Swap | Self::Garbage => &[Order],
            Self::Abort => &[Stopped],
            Self::Close => &[Closed],
            Self::Stall => &[Silent],
        }
    }
}

/// What arrives in place of the frames of one direction, and whether the connection stays open behind that.
pub(crate) fn stream(frames: &[Frame], number: usize, harm: Harm) -> (Vec<u8>, bool) {
    let (before, at) = frames.split_at(number);
    let mut bytes: Vec<u8> = before.iter().flat_map(|frame| &frame.0).copied().collect();
    let Some((frame, rest)) = at.split_first() else { return (bytes, true) };
    let mut rest = rest.iter();
    match harm {
        Harm::Close | Harm::Stall => return (bytes, harm == Harm::Stall),
        // Behind the last one it never arrives.
        Harm::Swap => {
            if let Some(next) = rest.next() {
                bytes.extend(next.0.iter().chain(&frame.0));
            }
        }
        _ => bytes.extend(harmed(frame.0.clone(), harm, number as u64)),
    }
    bytes.extend(rest.flat_map(|frame| &frame.0));
    (bytes, true)
}

/// What arrives in place of a frame, for a harm that is to it alone.
pub(crate) fn harmed(mut frame: Vec<u8>, harm: Harm, seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let len = frame.len() - FRAME_HEADER;
    let mut flip = |frame: &mut Vec<u8>, bytes: Range<usize>| {
        frame[rng.random_range(bytes)] ^= 1 << rng.random_range(0..8);
    };
    match harm {
        // A frame without payload cannot lose half of it: it loses half of its header.
        Harm::Shorten | Harm::Cut if len == 0 => frame.truncate(FRAME_HEADER / 2),
        Harm::Shorten => {
            frame.truncate(FRAME_HEADER + len / 2);
            state_length(&mut frame);
        }
        Harm::Cut => frame.truncate(FRAME_HEADER + len / 2),
        Harm::Lengthen => {
            frame.extend([0x5a; 13]);
            state_length(&mut frame);
        }
        Harm::Trail => frame.extend([0x5a; 13]),
        Harm::Flip if len == 0 => flip(&mut frame, 4..6),
        Harm::Flip => flip(&mut frame, FRAME_HEADER..FRAME_HEADER + len),
        Harm::FlipHeader => flip(&mut frame, 0..FRAME_HEADER),
        Harm::Repeat => frame.extend_from_within(..),
        Harm::Drop => frame.clear(),
        Harm::Garbage => rng.fill_bytes(&mut frame),
        Harm::Abort => {
            frame.truncate(FRAME_HEADER);
            frame[4..6].fill(0xff);
            frame.extend(b"no more");
            state_length(&mut frame);
        }
        Harm::Swap | Harm::Close | Harm::Stall => {}
    }
    frame
}

fn state_length(frame: &mut [u8]) {
    let len = (frame.len() - FRAME_HEADER) as u32;
    frame[..4].copy_from_slice(&len.to_le_bytes());
}

/// What an error says of the peer; `None` where it blames this side.
pub(crate) fn verdict(error: &ProtocolError) -> Option<Verdict> {
    let channel = match error {
        ProtocolError::Channel(channel) | ProtocolError::Compare(CompareError::Channel(channel)) => channel,
        // A server whose model, plan or options cannot be, or do not take the input; a client that wants what there is not.
        ProtocolError::Public(_)
        | ProtocolError::Plan(_)
        | ProtocolError::PlanDiffers { .. }
        | ProtocolError::Version { .. }
        | ProtocolError::Input { .. }
        | ProtocolError::Unfulfilled { .. }
        | ProtocolError::Catalogue(_)
        | ProtocolError::Engine { .. }
        | ProtocolError::Store(StoreError::Unknown(_)) => return Some(Verdict::Contents),
        _ => return None,
    };
    match channel {
        ChannelError::Peer(PeerMisbehaved::OutOfOrder { .. }) => Some(Verdict::Order),
        ChannelError::Peer(PeerMisbehaved::Length { .. }) => Some(Verdict::Length),
        ChannelError::Peer(_) => Some(Verdict::Contents),
        ChannelError::Closed { .. } => Some(Verdict::Closed),
        ChannelError::Timeout { .. } => Some(Verdict::Silent),
        ChannelError::Aborted { .. } => Some(Verdict::Stopped),
        _ => None,
    }
}
