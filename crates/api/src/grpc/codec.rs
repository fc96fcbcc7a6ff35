//! Messages on the wire: read as what a method takes, written as bytes that were made already.
//!
//! A message that was read holds no bytes of the budget for bodies any more ([`crate::bodies`]): a stream may stay open for hours.
//! Writing takes bytes and no message, because a stream answers with one kind of message or another, as its client reads it.

use crate::bodies::Holding;
use bytes::{BufMut, Bytes};
use ombud_oip::Message;
use std::marker::PhantomData;
use std::sync::Arc;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Reads `M`, writes bytes.
#[derive(Debug, Clone)]
pub struct Wire<M> {
    holding: Option<Arc<Holding>>,
    message: PhantomData<M>,
}

impl<M> Wire<M> {
    /// For a body that holds these bytes while it arrives.
    pub fn holding(holding: Option<Arc<Holding>>) -> Self {
        Wire {
            holding,
            message: PhantomData,
        }
    }
}

impl<M: Message + Default + Send + 'static> Codec for Wire<M> {
    type Encode = Bytes;
    type Decode = M;
    type Encoder = Plain;
    type Decoder = Wire<M>;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Wire<M> {
        Wire::holding(self.holding.clone())
    }
}

impl<M: Message + Default + Send + 'static> Decoder for Wire<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        let message = M::decode(buffer);
        if let Some(holding) = &self.holding {
            holding.release();
        }
        message.map(Some).map_err(|error| {
            Status::invalid_argument(format!("the message cannot be read: {error}"))
        })
    }
}

/// Writes bytes as they are.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}
