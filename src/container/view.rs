//! A message as selectors see it: which name means which field, read where it lies.
//!
//! Names, in this order:
//! - `m.NAME`: the message annotation NAME, and nothing else.
//! - `JMS…` and `amqp.…`: fields of header and properties, by the AMQP JMS mapping and by their own names (hyphens
//!   written as underscores), where the tables here have them.
//! - all others: the application property of that name; where there is none and the name begins with `x-`, the message
//!   annotation.
//!
//! Invariant: annotations are those that the consumer would get (`encode`): the broker's own before merged ones before
//! published ones. Only sections that a name leads to are looked at, each once, and nothing is decoded but the values
//! that are asked for. What cannot be read is not there: whether a message is well-formed inside is between its publisher
//! and its consumer.

use std::{borrow::Cow, cell::OnceCell, fmt::Write as _};

use super::encode::{Said, is_foreign, only_ours, own_annotations};
use crate::{
    amqp::codec::{
        Scalar, scalar,
        section::{self, MapPairs, PropertyField, Sections},
    },
    broker::{EntryState, Message},
    selector::{Fields, Identifier, Value},
};

/// Where a name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Header(HeaderField),
    Property(PropertyField),
    /// message-id or correlation-id as JMS has them: texts always.
    JmsId(PropertyField),
    /// properties.absolute-expiry-time, or what ttl came to; 0: never.
    Expiration,
    UserId,
    /// In the maps, by the name's place among those looked for there.
    Annotation(usize),
    ApplicationProperty(usize),
    /// The application property, or the annotation where there is none.
    Either(usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderField {
    Durable,
    /// JMSDeliveryMode: 'PERSISTENT' or 'NON_PERSISTENT'.
    DeliveryMode,
    Priority,
    DeliveryCount,
    /// JMSXDeliveryCount: this delivery is counted too.
    Deliveries,
    Redelivered,
    FirstAcquirer,
}

/// Names that lead to fields of the header or the properties.
const FIELDS: &[(&str, Place)] = &[
    ("JMSMessageID", Place::JmsId(PropertyField::MessageId)),
    ("JMSCorrelationID", Place::JmsId(PropertyField::CorrelationId)),
    ("JMSType", Place::Property(PropertyField::Subject)),
    ("JMSDestination", Place::Property(PropertyField::To)),
    ("JMSReplyTo", Place::Property(PropertyField::ReplyTo)),
    ("JMSTimestamp", Place::Property(PropertyField::CreationTime)),
    ("JMSExpiration", Place::Expiration),
    ("JMSDeliveryMode", Place::Header(HeaderField::DeliveryMode)),
    ("JMSPriority", Place::Header(HeaderField::Priority)),
    ("JMSRedelivered", Place::Header(HeaderField::Redelivered)),
    ("JMSXDeliveryCount", Place::Header(HeaderField::Deliveries)),
    ("JMSXGroupID", Place::Property(PropertyField::GroupId)),
    ("JMSXGroupSeq", Place::Property(PropertyField::GroupSequence)),
    ("JMSXUserID", Place::UserId),
    ("amqp.durable", Place::Header(HeaderField::Durable)),
    ("amqp.priority", Place::Header(HeaderField::Priority)),
    ("amqp.first_acquirer", Place::Header(HeaderField::FirstAcquirer)),
    ("amqp.delivery_count", Place::Header(HeaderField::DeliveryCount)),
    ("amqp.message_id", Place::Property(PropertyField::MessageId)),
    ("amqp.user_id", Place::UserId),
    ("amqp.to", Place::Property(PropertyField::To)),
    ("amqp.subject", Place::Property(PropertyField::Subject)),
    ("amqp.reply_to", Place::Property(PropertyField::ReplyTo)),
    ("amqp.correlation_id", Place::Property(PropertyField::CorrelationId)),
    ("amqp.content_type", Place::Property(PropertyField::ContentType)),
    ("amqp.content_encoding", Place::Property(PropertyField::ContentEncoding)),
    ("amqp.absolute_expiry_time", Place::Property(PropertyField::AbsoluteExpiryTime)),
    ("amqp.creation_time", Place::Property(PropertyField::CreationTime)),
    ("amqp.group_id", Place::Property(PropertyField::GroupId)),
    ("amqp.group_sequence", Place::Property(PropertyField::GroupSequence)),
    ("amqp.reply_to_group_id", Place::Property(PropertyField::ReplyToGroupId)),
];

/// Names to look for in a map, sorted.
#[derive(Debug, Default)]
struct Names(Vec<Box<str>>);

impl Names {
    fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut names: Vec<Box<str>> = names.map(Box::from).collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    fn place(&self, name: &str) -> usize {
        // One that is not among them would be found nowhere.
        self.0.binary_search_by(|known| (**known).cmp(name)).unwrap_or(usize::MAX)
    }

    /// Notes where the values are of those names that have none yet.
    fn find<'m>(&self, pairs: impl Iterator<Item = (&'m [u8], &'m [u8])>, found: &mut Found<'m>) {
        for (key, value) in pairs {
            let Some(Scalar::Text(key)) = scalar(key) else { continue };
            if let Some(place) = found.get_mut(self.place(key)) {
                place.get_or_insert(value);
            }
        }
    }
}

/// What a name means.
#[derive(Clone, Copy)]
enum Meaning<'n> {
    Field(Place),
    Annotation(&'n str),
    Property(&'n str),
    Either(&'n str),
}

fn meaning(name: &str) -> Meaning<'_> {
    let field = FIELDS.iter().find(|(known, _)| *known == name);
    match (field, name.strip_prefix("m.")) {
        (Some((_, place)), _) => Meaning::Field(*place),
        (None, Some(annotation)) => Meaning::Annotation(annotation),
        (None, None) if name.starts_with("x-") => Meaning::Either(name),
        (None, None) => Meaning::Property(name),
    }
}

/// Where the names of a selector lead: worked out once.
#[derive(Debug)]
pub(super) struct Lookup {
    /// By the identifier's index.
    places: Vec<Place>,
    properties: Names,
    annotations: Names,
}

impl Lookup {
    pub(super) fn new(identifiers: &[Identifier]) -> Self {
        let meanings = || identifiers.iter().map(|identifier| meaning(&identifier.name));
        let annotation = |meaning| match meaning {
            Meaning::Annotation(name) | Meaning::Either(name) => Some(name),
            _ => None,
        };
        let property = |meaning| match meaning {
            Meaning::Property(name) | Meaning::Either(name) => Some(name),
            _ => None,
        };
        let annotations = Names::new(meanings().filter_map(annotation));
        let properties = Names::new(meanings().filter_map(property));
        let place = |meaning| match meaning {
            Meaning::Field(place) => place,
            Meaning::Annotation(name) => Place::Annotation(annotations.place(name)),
            Meaning::Property(name) => Place::ApplicationProperty(properties.place(name)),
            Meaning::Either(name) => Place::Either(properties.place(name), annotations.place(name)),
        };
        Self { places: meanings().map(place).collect(), properties, annotations }
    }

    /// A message's view through this.
    pub(super) fn of<'m>(
        &'m self,
        message: &'m Message,
        delivery_count: u32,
        acquired_count: u32,
        state: Option<&'m EntryState>,
    ) -> View<'m> {
        View {
            lookup: self,
            message,
            delivery_count,
            acquired_count,
            state,
            sections: OnceCell::new(),
            properties: OnceCell::new(),
            annotations: OnceCell::new(),
        }
    }
}

/// Encoded values by the place of their name.
type Found<'m> = Vec<Option<&'m [u8]>>;

/// One message, looked at as far as it was asked about.
pub(super) struct View<'m> {
    lookup: &'m Lookup,
    message: &'m Message,
    delivery_count: u32,
    acquired_count: u32,
    state: Option<&'m EntryState>,
    sections: OnceCell<Sections>,
    properties: OnceCell<Found<'m>>,
    annotations: OnceCell<Found<'m>>,
}

impl Fields for View<'_> {
    fn get(&self, identifier: &Identifier) -> Value<'_> {
        match self.lookup.places.get(identifier.index) {
            None => Value::Null,
            Some(Place::Header(field)) => self.header(*field),
            Some(Place::Property(field)) => self.property(*field).map_or(Value::Null, read),
            Some(Place::JmsId(field)) => self.property(*field).map_or(Value::Null, read_jms_id),
            Some(Place::UserId) => self.property(PropertyField::UserId).map_or(Value::Null, read_name),
            Some(Place::Expiration) => match self.property(PropertyField::AbsoluteExpiryTime).map(read) {
                Some(Value::Int(at)) => Value::Int(at),
                _ => Value::Int(self.message.expires.map_or(0, |at| at.0).into()),
            },
            Some(Place::Annotation(place)) => self.annotation(*place),
            Some(Place::ApplicationProperty(place)) => {
                self.application_property(*place).unwrap_or(Value::Null)
            }
            Some(Place::Either(property, annotation)) => {
                self.application_property(*property).unwrap_or_else(|| self.annotation(*annotation))
            }
        }
    }
}

impl<'m> View<'m> {
    fn header(&self, field: HeaderField) -> Value<'m> {
        let text = |text| Value::Text(Cow::Borrowed(text));
        match field {
            HeaderField::Durable => Value::Bool(self.message.durable),
            HeaderField::DeliveryMode if self.message.durable => text("PERSISTENT"),
            HeaderField::DeliveryMode => text("NON_PERSISTENT"),
            HeaderField::Priority => Value::Int(self.message.priority.into()),
            HeaderField::DeliveryCount => Value::Int(self.delivery_count.into()),
            HeaderField::Deliveries => Value::Int(i128::from(self.delivery_count) + 1),
            HeaderField::Redelivered => Value::Bool(self.delivery_count > 0),
            HeaderField::FirstAcquirer => {
                Value::Bool(self.message.first_acquirer && self.acquired_count == 0)
            }
        }
    }

    fn sections(&self) -> &Sections {
        self.sections.get_or_init(|| {
            // What is not of the format of part 3.2 has no sections.
            let payload = if is_foreign(self.message.format) { &[] } else { self.message.payload() };
            section::walk(payload).unwrap_or_default()
        })
    }

    /// A section's bytes; empty where there is none.
    fn section(&self, of: impl Fn(&Sections) -> &Option<std::ops::Range<usize>>) -> &'m [u8] {
        let range = of(self.sections()).clone();
        range.and_then(|range| self.message.payload().get(range)).unwrap_or_default()
    }

    fn property(&self, field: PropertyField) -> Option<&'m [u8]> {
        section::property(self.section(|sections| &sections.properties), field)
    }

    fn pairs(&self, of: impl Fn(&Sections) -> &Option<std::ops::Range<usize>>) -> MapPairs<'m> {
        section::map_pairs_so_far(self.section(of))
    }

    fn application_property(&self, place: usize) -> Option<Value<'m>> {
        let found = self.properties.get_or_init(|| {
            let names = &self.lookup.properties;
            let mut found = vec![None; names.0.len()];
            names.find(self.pairs(|sections| &sections.application_properties), &mut found);
            found
        });
        found.get(place).copied().flatten().map(read)
    }

    /// An annotation as the consumer would get it.
    fn annotation(&self, place: usize) -> Value<'m> {
        let names = &self.lookup.annotations;
        let Some(name) = names.0.get(place) else { return Value::Null };
        let death = self.state.and_then(|state| state.death.as_deref());
        let own = own_annotations(self.acquired_count, death).find(|(key, _)| *key == &**name);
        if let Some((_, said)) = own {
            return match said {
                Said::Symbol(text) | Said::String(text) => Value::Text(Cow::Borrowed(text)),
                Said::Timestamp(time) => Value::Int(time.into()),
                Said::Uint(number) => Value::Int(number.into()),
            };
        }
        if only_ours(name.as_bytes(), death.is_some()) {
            return Value::Null;
        }
        let found = self.annotations.get_or_init(|| {
            let mut found = vec![None; names.0.len()];
            let merged = self.state.into_iter().flat_map(|state| &state.annotations.0);
            names.find(merged.map(|(key, value)| (&**key, &**value)), &mut found);
            names.find(self.pairs(|sections| &sections.message_annotations), &mut found);
            found
        });
        found.get(place).copied().flatten().map_or(Value::Null, read)
    }
}

/// A value as selectors know it. Timestamps are numbers of milliseconds, as in JMS; binary, decimal and compound values are
/// none that can be compared.
fn read(raw: &[u8]) -> Value<'_> {
    match scalar(raw) {
        Some(Scalar::Bool(value)) => Value::Bool(value),
        Some(Scalar::Unsigned(value)) => Value::Int(value.into()),
        Some(Scalar::Signed(value) | Scalar::Timestamp(value)) => Value::Int(value.into()),
        Some(Scalar::Float(value)) => Value::Float(value),
        Some(Scalar::Text(text)) => Value::Text(Cow::Borrowed(text)),
        Some(Scalar::Char(c)) => Value::Text(Cow::Owned(c.to_string())),
        Some(Scalar::Uuid(uuid)) => Value::Text(Cow::Owned(uuid_text(uuid))),
        Some(Scalar::Binary(_)) | None => Value::Null,
    }
}

/// user-id, which is binary, and a name.
fn read_name(raw: &[u8]) -> Value<'_> {
    let Some(Scalar::Binary(bytes)) = scalar(raw) else { return Value::Null };
    std::str::from_utf8(bytes).map_or(Value::Null, |name| Value::Text(Cow::Borrowed(name)))
}

/// message-id and correlation-id as the AMQP JMS mapping has them: texts as they are, other types behind a prefix.
fn read_jms_id(raw: &[u8]) -> Value<'_> {
    let text = match scalar(raw) {
        Some(Scalar::Unsigned(number)) => format!("ID:AMQP_ULONG:{number}"),
        Some(Scalar::Uuid(uuid)) => format!("ID:AMQP_UUID:{}", uuid_text(uuid)),
        Some(Scalar::Binary(bytes)) => {
            bytes.iter().fold("ID:AMQP_BINARY:".to_owned(), |mut text, byte| {
                // Writing to a string does not fail.
                let _ = write!(text, "{byte:02X}");
                text
            })
        }
        _ => return read(raw),
    };
    Value::Text(Cow::Owned(text))
}

fn uuid_text(uuid: [u8; 16]) -> String {
    let number = u128::from_be_bytes(uuid);
    let group = |shift: u32, bits: u32| (number >> shift) & ((1 << bits) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        group(96, 32),
        group(80, 16),
        group(64, 16),
        group(48, 16),
        group(0, 48)
    )
}
