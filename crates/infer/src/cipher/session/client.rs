//! The client's end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phineus_he::slots::{KeyUpload, Reply, Requests, SecretKey};
use phineus_kernel::prg::Prg;
use phineus_kernel::wire::{PeerMisbehaved, Wire};
use phineus_model::phn::{self, Public};
use phineus_net::{Channel, ChannelError, Client, Traffic};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{
    AGREE, COMMAND, Command, HELLO, Hello, KEYS, KNOWN, MAX_PUBLIC, PUBLIC_KEY, REPLY, REQUEST, SessionError,
    Terms, VERSION, WELCOME,
};
use crate::cipher::Identity;
use crate::cipher::scheme::Scheme;
use crate::cipher::service::scheme_of;

/// An agreed session with a server.
pub struct Session {
    channel: Channel<Client>,
    public: Public,
    scheme: Arc<Scheme>,
    secret: SecretKey,
    gain: i32,
    uploaded: usize,
    rng: Prg,
}

/// What an inference yields and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// The logits, up to the error of the scheme.
    pub logits: Vec<f64>,
    /// Encoding and encryption.
    pub encrypt: Duration,
    /// From the first byte sent to the last one received.
    pub wait: Duration,
    /// Decryption and decoding.
    pub decrypt: Duration,
    /// Bytes and rounds.
    pub traffic: Traffic,
}

impl Session {
    /// Says hello, derives the scheme from what the server answers, agrees on it, and sends the keys that the server does
    /// not have.
    ///
    /// # Errors
    /// [`SessionError`]: the channel, another version, an unknown model, a model that this engine does not run.
    pub async fn connect(
        mut channel: Channel<Client>,
        identity: &Identity,
        model: &str,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SessionError> {
        let mut rng = Prg::from_generator(rng);
        match Self::agree(&mut channel, identity, model, &mut rng).await {
            Ok((public, scheme, secret, gain, uploaded)) => {
                Ok(Self { channel, public, scheme, secret, gain, uploaded, rng })
            }
            Err(error) => {
                channel.abort(&error.to_string()).await;
                Err(error)
            }
        }
    }

    async fn agree(
        channel: &mut Channel<Client>,
        identity: &Identity,
        model: &str,
        rng: &mut Prg,
    ) -> Result<(Public, Arc<Scheme>, SecretKey, i32, usize), SessionError> {
        let hello = Hello { version: VERSION, model: model.to_owned(), token: identity.token() };
        channel.send(HELLO, &hello).await?;
        channel.flush().await?;
        let head = Terms::wire_len(&());
        let welcome = channel.recv_bounded(WELCOME, head + MAX_PUBLIC).await?;
        let too_short =
            PeerMisbehaved::Length { what: WELCOME.name(), expected: head as u64, got: welcome.len() as u64 };
        let (terms, public) = welcome.split_at_checked(head).ok_or(ChannelError::Peer(too_short))?;
        let theirs = u16::from_le_bytes([terms[0], terms[1]]);
        if theirs != VERSION {
            return Err(SessionError::Version { ours: VERSION, theirs });
        }
        let terms = Terms::decode(terms, &())?;
        let public = phn::read_public(public)?;
        let scheme = scheme_of(&public, terms.form, terms.precision.into())?;
        channel.send_bytes(AGREE, scheme.digest()).await?;
        channel.flush().await?;
        let known = channel.recv_bytes(KNOWN, 1).await?;
        let secret = identity.secret(&scheme);
        let mut uploaded = 0;
        if known != [1] {
            let keys = KeyUpload::generate(&secret, scheme.keys(), rng)?;
            channel.send(PUBLIC_KEY, &secret.public_key(rng)).await?;
            channel.send(KEYS, &keys).await?;
            channel.flush().await?;
            uploaded = KeyUpload::wire_len(scheme.keys());
        }
        Ok((public, scheme, secret, terms.gain.into(), uploaded))
    }

    /// The public half of the model.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The scheme both sides agreed on.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Bytes of evaluation keys that had to be sent.
    #[must_use]
    pub fn uploaded(&self) -> usize {
        self.uploaded
    }

    /// One inference in one round.
    ///
    /// # Errors
    /// [`SessionError`]; after anything but a refused input the session is over.
    pub async fn infer(&mut self, input: &[f64]) -> Result<Inference, SessionError> {
        let (expected, most) = (self.scheme.program().input().elements(), self.scheme.input());
        // A little more than the bound may be rounding.
        let fits = input.iter().all(|v| v.abs() <= most * (1.0 + 1e-6));
        if input.len() != expected || !fits {
            return Err(SessionError::Input { expected, most, got: input.len() });
        }
        let result = self.try_infer(input).await;
        if let Err(error) = &result {
            self.channel.abort(&error.to_string()).await;
        }
        result
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// [`SessionError`] if the connection was lost.
    pub async fn close(mut self) -> Result<(), SessionError> {
        self.channel.send(COMMAND, &Command::Bye).await?;
        self.channel.flush().await?;
        Ok(())
    }

    async fn try_infer(&mut self, input: &[f64]) -> Result<Inference, SessionError> {
        let (program, spec) = (self.scheme.program(), self.scheme.reply());
        let before = self.channel.traffic();
        let start = Instant::now();
        let slots = Zeroizing::new(program.input().place(input));
        let requests = Requests::encrypt(&self.secret, &slots, self.scheme.requests().level, &mut self.rng)?;
        let encrypt = start.elapsed();
        self.channel.send(COMMAND, &Command::Infer).await?;
        self.channel.send(REQUEST, &requests).await?;
        self.channel.flush().await?;
        let mut replies = Vec::with_capacity(program.output().ciphers());
        for _ in 0..program.output().ciphers() {
            replies.push(self.channel.recv::<Reply>(REPLY, spec).await?);
        }
        let wait = start.elapsed() - encrypt;
        let mut outputs = Zeroizing::new(Vec::with_capacity(replies.len()));
        for reply in &replies {
            let decrypted = self.secret.decrypt(reply, spec)?;
            outputs.push(decrypted.slots().repeat(program.output().slots() / spec.period()));
        }
        let scale = f64::from(-self.gain).exp2();
        let logits = program.output().read(&outputs).into_iter().map(|v| v * scale).collect();
        let decrypt = start.elapsed() - encrypt - wait;
        Ok(Inference { logits, encrypt, wait, decrypt, traffic: self.channel.traffic() - before })
    }
}
