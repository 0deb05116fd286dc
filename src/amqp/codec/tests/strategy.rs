//! Arbitrary values, states and performatives for the properties.

use fe2o3_amqp_types::{
    definitions::{Error, Fields, Role},
    messaging::Modified,
};
use proptest::{collection::vec, option, prelude::*};
use serde_amqp::{
    Value,
    described::Described,
    descriptor::Descriptor,
    primitives::{Array, OrderedMap, Symbol, Timestamp},
};
use serde_bytes::ByteBuf;

use crate::amqp::codec::{DeliveryState, Disposition, Flow, error_condition};

pub fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        edgy_u32().prop_map(Value::Uint),
        edgy_u64().prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        any::<i32>().prop_map(Value::Int),
        (-200..200_i32).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Long),
        (-200..200_i64).prop_map(Value::Long),
        any::<f32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(|time| Value::Timestamp(Timestamp::from_milliseconds(time))),
        any::<[u8; 16]>().prop_map(|uuid| Value::Uuid(uuid.into())),
        any::<[u8; 8]>().prop_map(|decimal| Value::Decimal64(decimal.into())),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Binary(ByteBuf::from(bytes))),
        "\\PC{0,20}".prop_map(Value::String),
        symbol().prop_map(Value::Symbol),
    ]
}

/// Values of all kinds but arrays, three levels deep.
pub fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec((key(), inner.clone()), 0..4).prop_map(|pairs| {
                let mut map = OrderedMap::new();
                for (key, value) in pairs {
                    map.insert(key, value);
                }
                Value::Map(map)
            }),
            (descriptor(), inner).prop_map(|(descriptor, value)| {
                Value::Described(Box::new(Described { descriptor, value }))
            }),
        ]
    })
}

/// Keys of maps. None is a timestamp: serde_amqp writes the value behind one wrong, or panics.
fn key() -> impl Strategy<Value = Value> {
    scalar().prop_filter("no timestamp", |key| !matches!(key, Value::Timestamp(_)))
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    prop_oneof![symbol().prop_map(Descriptor::Name), edgy_u64().prop_map(Descriptor::Code),]
}

/// Arrays that are not empty and of one type.
pub fn array() -> impl Strategy<Value = Value> {
    let array = |values| Value::Array(Array(values));
    let leaf = prop_oneof![
        vec(edgy_u32().prop_map(Value::Uint), 1..6),
        vec(symbol().prop_map(Value::Symbol), 1..6),
        vec(any::<bool>().prop_map(Value::Bool), 1..6),
        vec("\\PC{0,20}".prop_map(Value::String), 1..6),
        vec(Just(Value::Null), 1..60),
        vec(vec(scalar(), 0..4).prop_map(Value::List), 1..4),
        (descriptor(), vec(symbol(), 1..4)).prop_map(|(descriptor, names)| {
            let describe = |name| Described { descriptor: descriptor.clone(), value: Value::Symbol(name) };
            names.into_iter().map(|name| Value::Described(Box::new(describe(name)))).collect()
        }),
    ]
    .prop_map(array);
    let nested = vec(leaf.clone_boxed(), 1..4).prop_map(array);
    prop_oneof![leaf, nested]
}

trait CloneBoxed: Strategy {
    fn clone_boxed(&self) -> BoxedStrategy<Self::Value>;
}

impl<S: Strategy + Clone + 'static> CloneBoxed for S {
    fn clone_boxed(&self) -> BoxedStrategy<Self::Value> {
        self.clone().boxed()
    }
}

pub fn symbol() -> impl Strategy<Value = Symbol> + Clone {
    "[a-z:.-]{0,12}".prop_map(Symbol::from)
}

pub fn edgy_u32() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![Just(0), Just(1), Just(255), Just(256), Just(u32::MAX), any::<u32>()]
}

pub fn edgy_u64() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![Just(0), Just(255), Just(256), Just(u64::MAX), any::<u64>()]
}

pub fn fields() -> impl Strategy<Value = Fields> {
    vec((symbol(), value()), 0..5).prop_map(|pairs| {
        let mut fields = Fields::new();
        for (key, value) in pairs {
            fields.insert(key, value);
        }
        fields
    })
}

fn error() -> impl Strategy<Value = Error> {
    let names = prop_oneof![Just("amqp:not-found".to_owned()), "[a-z:]{1,20}"];
    (names, option::of("\\PC{0,30}"), option::of(fields())).prop_map(|(name, description, info)| Error {
        condition: error_condition(&name),
        description,
        info: info.map(Box::new),
    })
}

pub fn outcome() -> impl Strategy<Value = DeliveryState> {
    prop_oneof![
        4 => Just(DeliveryState::Accepted),
        1 => Just(DeliveryState::Released),
        1 => option::of(error().prop_map(Box::new)).prop_map(DeliveryState::Rejected),
        1 => (any::<Option<bool>>(), any::<Option<bool>>(), option::of(fields())).prop_map(
            |(delivery_failed, undeliverable_here, message_annotations)| {
                let modified = Modified { delivery_failed, undeliverable_here, message_annotations };
                DeliveryState::Modified(Box::new(modified), 0)
            }
        ),
        1 => vec(any::<u8>(), 0..40).prop_map(DeliveryState::Declared),
    ]
}

pub fn state() -> impl Strategy<Value = DeliveryState> {
    prop_oneof![
        5 => outcome(),
        1 => (edgy_u32(), edgy_u64()).prop_map(|(number, offset)| DeliveryState::Received(number, offset)),
        1 => (vec(any::<u8>(), 0..40), option::of(outcome()))
            .prop_map(|inner| DeliveryState::Transactional(Box::new(inner))),
    ]
}

pub fn flow() -> impl Strategy<Value = Flow> {
    let number = || option::of(edgy_u32());
    (
        (number(), edgy_u32(), edgy_u32(), edgy_u32(), number(), number(), number(), number()),
        (any::<bool>(), any::<bool>(), option::of(fields())),
    )
        .prop_map(|(numbers, (drain, echo, properties))| Flow {
            next_incoming_id: numbers.0,
            incoming_window: numbers.1,
            next_outgoing_id: numbers.2,
            outgoing_window: numbers.3,
            handle: numbers.4,
            delivery_count: numbers.5,
            link_credit: numbers.6,
            available: numbers.7,
            drain,
            echo,
            properties: properties.map(Box::new),
        })
}

pub fn disposition() -> impl Strategy<Value = Disposition> {
    (any::<bool>(), edgy_u32(), option::of(edgy_u32()), any::<bool>(), option::of(state()), any::<bool>())
        .prop_map(|(role, first, last, settled, state, batchable)| Disposition {
            role: Role::from(role),
            first,
            last,
            settled,
            state,
            batchable,
        })
}
