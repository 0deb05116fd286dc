//! SASL frames (part 5.3.3), both ways.
//!
//! Invariant: as the other performatives; knows no mechanism.

use super::{
    DecodeError, code,
    code::descriptor,
    read::{Descriptor, FieldReader, described},
    validate::validate,
    write::{self, ListWriter},
};

/// The body of a SASL frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslFrame {
    /// 5.3.3.1: what the server offers.
    Mechanisms(Vec<String>),
    /// 5.3.3.2: what the client chose.
    Init {
        /// The mechanism.
        mechanism: String,
        /// Its initial response.
        response: Option<Vec<u8>>,
        /// The host it believes to talk to.
        hostname: Option<String>,
    },
    /// 5.3.3.3.
    Challenge(Vec<u8>),
    /// 5.3.3.4.
    Response(Vec<u8>),
    /// 5.3.3.5: code as in 5.3.3.6.
    Outcome {
        /// 0 ok, 1 auth, 2 sys, 3 sys-perm, 4 sys-temp.
        code: u8,
        /// Additional data.
        additional: Option<Vec<u8>>,
    },
}

/// Decodes the body of a SASL frame.
///
/// # Errors
/// It is none, or not well-formed, or goes on behind its list: there is no payload in it (5.3.1).
pub fn decode_sasl(body: &[u8]) -> Result<SaslFrame, DecodeError> {
    let expected = "a sasl frame (0x40 to 0x44)";
    let len = validate(body)?;
    if len != body.len() {
        return Err(DecodeError::Size { what: "sasl frame", got: len, expected: body.len() });
    }
    let (known, list) = match described(body)? {
        Some((Descriptor::Known(code), list)) => (code, list),
        Some((other, _)) => {
            return Err(DecodeError::Descriptor { what: "sasl frame", got: other.to_string(), expected });
        }
        None => {
            let code = body.first().copied().unwrap_or(code::NULL);
            return Err(DecodeError::WrongType { field: "sasl frame", code, expected });
        }
    };
    let (mut fields, _) = FieldReader::open("sasl frame", list)?;
    Ok(match known {
        descriptor::SASL_MECHANISMS => {
            let names = fields.mandatory("sasl-mechanisms.sasl-server-mechanisms")?.symbols()?;
            SaslFrame::Mechanisms(names.into_iter().map(str::to_owned).collect())
        }
        descriptor::SASL_INIT => SaslFrame::Init {
            mechanism: fields.mandatory("sasl-init.mechanism")?.symbol()?.to_owned(),
            response: fields.binary("sasl-init.initial-response")?.map(<[u8]>::to_vec),
            hostname: fields.string("sasl-init.hostname")?.map(str::to_owned),
        },
        descriptor::SASL_CHALLENGE => {
            SaslFrame::Challenge(fields.mandatory("sasl-challenge.challenge")?.binary()?.to_vec())
        }
        descriptor::SASL_RESPONSE => {
            SaslFrame::Response(fields.mandatory("sasl-response.response")?.binary()?.to_vec())
        }
        descriptor::SASL_OUTCOME => SaslFrame::Outcome {
            code: fields.mandatory("sasl-outcome.code")?.u8()?,
            additional: fields.binary("sasl-outcome.additional-data")?.map(<[u8]>::to_vec),
        },
        other => {
            let got = Descriptor::Known(other).to_string();
            return Err(DecodeError::Descriptor { what: "sasl frame", got, expected });
        }
    })
}

/// Appends the body of a SASL frame.
pub fn encode_sasl(frame: &SaslFrame, out: &mut Vec<u8>) {
    match frame {
        SaslFrame::Mechanisms(names) => {
            let mut list = ListWriter::new(out, descriptor::SASL_MECHANISMS);
            // 5.3.3.1: "it is invalid for this list to be null or empty".
            write::symbols(list.field(), names.iter().map(String::as_str));
            list.finish();
        }
        SaslFrame::Init { mechanism, response, hostname } => {
            let mut list = ListWriter::new(out, descriptor::SASL_INIT);
            write::symbol(list.field(), mechanism);
            list.option(response.as_deref(), write::binary);
            list.option(hostname.as_deref(), write::string);
            list.finish();
        }
        SaslFrame::Challenge(data) => {
            let mut list = ListWriter::new(out, descriptor::SASL_CHALLENGE);
            write::binary(list.field(), data);
            list.finish();
        }
        SaslFrame::Response(data) => {
            let mut list = ListWriter::new(out, descriptor::SASL_RESPONSE);
            write::binary(list.field(), data);
            list.finish();
        }
        SaslFrame::Outcome { code, additional } => {
            let mut list = ListWriter::new(out, descriptor::SASL_OUTCOME);
            write::ubyte(list.field(), *code);
            list.option(additional.as_deref(), write::binary);
            list.finish();
        }
    }
}
