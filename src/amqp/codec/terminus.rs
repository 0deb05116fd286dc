//! Sources, targets and coordinators (parts 3.5 and 4.5.1).
//!
//! Invariant: as in [`super::attach`]: nothing in a terminus fails more than the link.

use fe2o3_amqp_types::{
    definitions::{AmqpError, Fields},
    messaging::{
        DistributionMode, Outcome, Source, Target, TargetArchetype, TerminusDurability, TerminusExpiryPolicy,
    },
    transaction::{Coordinator, TxnCapability},
};
use serde_amqp::{
    Value,
    descriptor::Descriptor as ValueDescriptor,
    primitives::{Array, Symbol},
};

use super::{
    DecodeError,
    attach::{Refusal, capabilities, out_of_range},
    code::descriptor,
    delivery_state::{decode_state, encode_state},
    encode_value::encode_fields,
    performative::{symbol_array, write_fields, write_symbols},
    read::{Descriptor, Field, FieldReader, described},
    value::{decode_fields, decode_value, pairs},
    wire_state::{from_wire_outcome, to_wire_outcome},
    write::{self, ListWriter},
};

/// The outcomes there are (3.4.2 to 3.4.5, in that order), by the names `source.outcomes` uses.
pub const OUTCOMES: [&str; 4] =
    ["amqp:accepted:list", "amqp:rejected:list", "amqp:released:list", "amqp:modified:list"];

/// Opens the list of a terminus; notes why where it is none.
fn open<'a>(field: Field<'a>, refuse: &mut Refusal) -> Option<(Descriptor<'a>, FieldReader<'a>)> {
    let (descriptor, list) = match described(field.raw) {
        Ok(Some(parts)) => parts,
        Ok(None) => {
            let code = field.raw.first().copied().unwrap_or_default();
            let expected = "a described list";
            refuse.invalid(&DecodeError::WrongType { field: field.name, code, expected });
            return None;
        }
        Err(error) => {
            refuse.invalid(&error);
            return None;
        }
    };
    if !matches!(
        descriptor,
        Descriptor::Known(descriptor::SOURCE | descriptor::TARGET | descriptor::COORDINATOR)
    ) {
        refuse.not_implemented(field.name, format!("type {descriptor}"));
        return None;
    }
    let list = FieldReader::open(field.name, list).map(|(fields, _)| Some(fields));
    Some((descriptor, refuse.take(list)?))
}

/// The source of an attach.
pub(super) fn decode_source(attach: &mut FieldReader<'_>, refuse: &mut Refusal) -> Option<Source> {
    let field = refuse.field(attach, "attach.source", Ok)?;
    let (descriptor, mut fields) = open(field, refuse)?;
    if descriptor != Descriptor::Known(descriptor::SOURCE) {
        refuse.not_implemented(field.name, format!("type {descriptor}"));
        return None;
    }
    let fields = &mut fields;
    Some(Source {
        address: address(fields, refuse, "source.address"),
        durable: durable(fields, refuse, "source.durable"),
        expiry_policy: expiry_policy(fields, refuse, "source.expiry-policy"),
        timeout: refuse.field(fields, "source.timeout", |field| field.u32()).unwrap_or(0),
        dynamic: refuse.field(fields, "source.dynamic", |field| field.bool()).unwrap_or(false),
        dynamic_node_properties: node_properties(fields, refuse, "source.dynamic-node-properties"),
        distribution_mode: refuse.field(fields, "source.distribution-mode", |field| field.symbol()).and_then(
            |mode| match DistributionMode::try_from(mode) {
                Ok(mode) => Some(mode),
                Err(other) => {
                    refuse.not_implemented("source.distribution-mode", other);
                    None
                }
            },
        ),
        filter: refuse.field(fields, "source.filter", filter_set),
        default_outcome: default_outcome(fields, refuse),
        outcomes: outcomes(fields, refuse),
        capabilities: capabilities(refuse, fields, "source.capabilities"),
    })
}

/// The target of an attach.
pub(super) fn decode_target(attach: &mut FieldReader<'_>, refuse: &mut Refusal) -> Option<TargetArchetype> {
    let field = refuse.field(attach, "attach.target", Ok)?;
    let (descriptor, mut fields) = open(field, refuse)?;
    let fields = &mut fields;
    match descriptor {
        Descriptor::Known(descriptor::TARGET) => Some(TargetArchetype::Target(Target {
            address: address(fields, refuse, "target.address"),
            durable: durable(fields, refuse, "target.durable"),
            expiry_policy: expiry_policy(fields, refuse, "target.expiry-policy"),
            timeout: refuse.field(fields, "target.timeout", |field| field.u32()).unwrap_or(0),
            dynamic: refuse.field(fields, "target.dynamic", |field| field.bool()).unwrap_or(false),
            dynamic_node_properties: node_properties(fields, refuse, "target.dynamic-node-properties"),
            capabilities: capabilities(refuse, fields, "target.capabilities"),
        })),
        Descriptor::Known(descriptor::COORDINATOR) => {
            // Capabilities here are wishes: those not known are not promised, and no reason to refuse.
            let names = refuse.field(fields, "coordinator.capabilities", |field| field.symbols());
            let known: Vec<TxnCapability> = names
                .unwrap_or_default()
                .into_iter()
                .filter_map(|name| TxnCapability::try_from(Symbol::from(name)).ok())
                .collect();
            let capabilities = (!known.is_empty()).then_some(Array(known));
            Some(TargetArchetype::Coordinator(Coordinator { capabilities }))
        }
        other => {
            refuse.not_implemented(field.name, format!("type {other}"));
            None
        }
    }
}

/// An address: of the types it may have (`*`, part 3.5.3) the specification defines only string (3.2.15).
fn address(fields: &mut FieldReader<'_>, refuse: &mut Refusal, name: &'static str) -> Option<String> {
    let field = refuse.field(fields, name, Ok)?;
    match field.string() {
        Ok(address) => Some(address.to_owned()),
        Err(DecodeError::WrongType { code, .. }) => {
            refuse.not_implemented(name, format!("an address of constructor 0x{code:02x}"));
            None
        }
        Err(other) => {
            refuse.invalid(&other);
            None
        }
    }
}

/// A filter-set (3.5.8): "every key in the map MUST be of type symbol". A value that cannot be taken is left out, and so not
/// in force: that is told by not echoing it, and is no reason to refuse the link.
fn filter_set(field: Field<'_>) -> Result<Fields, DecodeError> {
    let mut filters = Fields::new();
    for (key, value) in pairs(field.name, field.raw)? {
        let key = Field { name: field.name, raw: key }.symbol()?;
        if let Ok(value) = decode_value(value) {
            filters.insert(Symbol::from(key), value);
        }
    }
    Ok(filters)
}

fn durable(fields: &mut FieldReader<'_>, refuse: &mut Refusal, name: &'static str) -> TerminusDurability {
    refuse
        .field(fields, name, |field| match field.u32()? {
            0 => Ok(TerminusDurability::None),
            1 => Ok(TerminusDurability::Configuration),
            2 => Ok(TerminusDurability::UnsettledState),
            other => Err(out_of_range(name, other, "0 to 2")),
        })
        .unwrap_or_default()
}

fn expiry_policy(
    fields: &mut FieldReader<'_>,
    refuse: &mut Refusal,
    name: &'static str,
) -> TerminusExpiryPolicy {
    let Some(policy) = refuse.field(fields, name, |field| field.symbol()) else {
        return TerminusExpiryPolicy::default();
    };
    TerminusExpiryPolicy::try_from(policy).unwrap_or_else(|other| {
        refuse.not_implemented(name, other);
        TerminusExpiryPolicy::default()
    })
}

/// The properties asked for of a dynamic node (3.5.9); a lifetime-policy among them must be a known one.
fn node_properties(fields: &mut FieldReader<'_>, refuse: &mut Refusal, name: &'static str) -> Option<Fields> {
    let mut properties = refuse.field(fields, name, |field| decode_fields(name, field.raw))?;
    let known = match properties.get("lifetime-policy") {
        None | Some(Value::Null) => true,
        Some(Value::Described(described)) => match &described.descriptor {
            ValueDescriptor::Code(code) => u8::try_from(*code).ok(),
            ValueDescriptor::Name(name) => descriptor::by_name(name.as_str().as_bytes()),
        }
        .is_some_and(|code| {
            (descriptor::DELETE_ON_CLOSE..=descriptor::DELETE_ON_NO_LINKS_OR_MESSAGES).contains(&code)
        }),
        _ => false,
    };
    if !known {
        refuse.note(AmqpError::NotImplemented, format!("{name}: this lifetime-policy is not supported"));
        properties.shift_remove("lifetime-policy");
    }
    Some(properties)
}

fn default_outcome(fields: &mut FieldReader<'_>, refuse: &mut Refusal) -> Option<Outcome> {
    let field = refuse.field(fields, "source.default-outcome", Ok)?;
    let state = refuse.take(decode_state(field.raw).map(Some))?;
    match to_wire_outcome(&state) {
        // 4.5.5: declared answers the coordinator alone.
        Ok(Outcome::Declared(_)) => {
            refuse.outcome("amqp:declared:list".to_owned());
            None
        }
        Ok(outcome) => Some(outcome),
        Err(unknown) => {
            refuse.outcome(unknown);
            None
        }
    }
}

/// source.outcomes (3.5.3): those not known are told together.
fn outcomes(fields: &mut FieldReader<'_>, refuse: &mut Refusal) -> Option<Array<Symbol>> {
    let names = refuse.field(fields, "source.outcomes", |field| field.symbols())?;
    let known = names.iter().copied().filter(|name| OUTCOMES.contains(name)).collect();
    for name in names.into_iter().filter(|name| !OUTCOMES.contains(name)) {
        refuse.outcome(name.to_owned());
    }
    symbol_array(Some(known))
}

/// Appends a source.
pub fn encode_source(source: &Source, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::SOURCE);
    write_node(
        &mut list,
        source.address.as_deref(),
        &source.durable,
        &source.expiry_policy,
        source.timeout,
        source.dynamic,
        source.dynamic_node_properties.as_ref(),
    );
    list.option(source.distribution_mode.as_ref(), |out, mode| {
        write::symbol(out, Symbol::from(mode).as_str());
    });
    list.option(source.filter.as_ref(), |out, filter| encode_fields(filter, out));
    list.option(source.default_outcome.as_ref(), |out, outcome| {
        encode_state(&from_wire_outcome(outcome), out);
    });
    write_symbols(&mut list, source.outcomes.as_ref());
    write_symbols(&mut list, source.capabilities.as_ref());
    list.finish();
}

/// Appends a target or coordinator.
pub fn encode_target(target: &TargetArchetype, out: &mut Vec<u8>) {
    match target {
        TargetArchetype::Target(target) => {
            let mut list = ListWriter::new(out, descriptor::TARGET);
            write_node(
                &mut list,
                target.address.as_deref(),
                &target.durable,
                &target.expiry_policy,
                target.timeout,
                target.dynamic,
                target.dynamic_node_properties.as_ref(),
            );
            write_symbols(&mut list, target.capabilities.as_ref());
            list.finish();
        }
        TargetArchetype::Coordinator(coordinator) => {
            let mut list = ListWriter::new(out, descriptor::COORDINATOR);
            let names = coordinator.capabilities.as_ref().filter(|names| !names.is_empty());
            list.option(names, |out, names| {
                let names: Vec<Symbol> = names.iter().map(Symbol::from).collect();
                write::symbols(out, names.iter().map(Symbol::as_str));
            });
            list.finish();
        }
    }
}

/// The fields that sources and targets begin with.
fn write_node(
    list: &mut ListWriter<'_>,
    address: Option<&str>,
    durable: &TerminusDurability,
    expiry_policy: &TerminusExpiryPolicy,
    timeout: u32,
    dynamic: bool,
    properties: Option<&Fields>,
) {
    list.option(address, write::string);
    let durable = match durable {
        TerminusDurability::None => None,
        TerminusDurability::Configuration => Some(1),
        TerminusDurability::UnsettledState => Some(2),
    };
    list.option(durable, write::uint);
    let policy = Some(expiry_policy).filter(|policy| **policy != TerminusExpiryPolicy::SessionEnd);
    list.option(policy, |out, policy| write::symbol(out, Symbol::from(policy).as_str()));
    list.option(Some(timeout).filter(|timeout| *timeout != 0), write::uint);
    list.flag(dynamic);
    write_fields(list, properties);
}
