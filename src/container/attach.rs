//! Attach: from termini to nodes, and the reply that says what will really hold (parts 2.6.3, 3.5).
//!
//! Invariant: an attach is answered once: accepted with the terminus as it is in force, or refused on
//! the link alone. Addresses are echoed verbatim.

use fe2o3_amqp_types::{
    definitions::{AmqpError, Error, Role, SenderSettleMode},
    messaging::{DistributionMode, Source, TargetArchetype, TerminusDurability, TerminusExpiryPolicy},
    performatives::Attach,
};
use serde_amqp::{
    Value,
    descriptor::Descriptor,
    primitives::{Array, Symbol},
};

use super::{
    Container, Host, Link, NoPlace, Notice, Place, Wish, filter, incoming::Publisher,
    management::is_management, outcome, outgoing::Consumer,
};
use crate::{
    amqp::{AttachReply, LinkId, SessionId},
    broker::{Command, ConsumerId, Lifetime, Outcome, ProducerId, QueueId, Subscribe},
    limits,
};

impl Container {
    pub(super) fn attach(
        &mut self,
        link: LinkId,
        session: SessionId,
        attach: Attach,
        refuse: Option<Box<Error>>,
        host: &mut dyn Host,
    ) {
        let name = outcome::cut(attach.name.clone(), limits::IDENTITY_BYTES);
        let done = match (refuse, &attach.role) {
            (Some(error), _) => Err(*error),
            (None, Role::Sender) => self.attach_publisher(link, session, attach, host),
            (None, Role::Receiver) => self.attach_consumer(link, session, attach, host),
        };
        if let Err(error) = done {
            self.notices.push(Notice::LinkRefused(name, super::describe(&error)));
            self.engine.refuse_attach(link, error);
        }
    }

    fn attach_publisher(
        &mut self,
        link: LinkId,
        session: SessionId,
        mut attach: Attach,
        host: &mut dyn Host,
    ) -> Result<(), Error> {
        let mut target = match attach.target.take().map(|target| *target) {
            Some(TargetArchetype::Target(target)) => target,
            None => return Err(invalid("attach.target is null, expected a target")),
            #[allow(unreachable_patterns)]
            Some(_) => {
                return Err(not_implemented("a coordinator target: transactions are not supported yet"));
            }
        };
        if !target.dynamic && is_management(target.address.as_deref()) {
            volatile(&mut target.durable, &mut target.expiry_policy, &mut target.timeout);
            self.attach_requester(link, session, attach, target);
            return Ok(());
        }
        let publisher = if target.dynamic {
            no_address(target.address.as_deref())?;
            let lifetime = lifetime_of(target.dynamic_node_properties.as_ref());
            let (address, node) = host.create_dynamic(lifetime)?;
            target.address = Some(address);
            Publisher::to_node(node, (lifetime == Lifetime::DeleteOnClose).then_some(node))
        } else if let Some(address) = &target.address {
            let place = host.resolve(address, wish(target.capabilities.as_ref()))?;
            if place.dead_letter {
                let why = format!(
                    "{address:?} is a dead-letter tree: only the broker puts messages there; publish to the queue instead"
                );
                return Err(Error::new(AmqpError::NotAllowed, Some(why), None));
            }
            Publisher::to_node(place.node, None)
        } else {
            Publisher::relay()
        };
        if let Some(node) = publisher.node() {
            host.send(node, Command::AttachProducer { producer: ProducerId::new(self.id, link.0) });
        }
        volatile(&mut target.durable, &mut target.expiry_policy, &mut target.timeout);
        let reply = AttachReply {
            source: attach.source,
            target: Some(Box::new(TargetArchetype::Target(target))),
            ..AttachReply::default()
        };
        self.engine.accept_attach(link, reply);
        publisher.top_up(link, &mut self.engine);
        self.enter(link, Link::Publisher(publisher));
        Ok(())
    }

    fn attach_consumer(
        &mut self,
        link: LinkId,
        session: SessionId,
        mut attach: Attach,
        host: &mut dyn Host,
    ) -> Result<(), Error> {
        let Some(mut source) = attach.source.take().map(|source| *source) else {
            return Err(invalid("attach.source is null, expected a source"));
        };
        if !source.dynamic && is_management(source.address.as_deref()) {
            self.attach_answerer(link, session, attach, source);
            return Ok(());
        }
        // Before a dynamic node would be made for a link that is refused.
        let filter = filter::in_force(&mut source)?;
        let (place, delete) = consumer_place(&mut source, host)?;
        let mut consumer = Consumer::new(place);
        consumer.delete = delete;
        consumer.browse = matches!(source.distribution_mode, Some(DistributionMode::Copy));
        consumer.presettled = attach.snd_settle_mode == SenderSettleMode::Settled;
        consumer.outcomes = source.outcomes.as_ref().map(|symbols| outcome::Set::of(&symbols.0));
        let default_outcome =
            source.default_outcome.as_ref().map_or(Outcome::Released, outcome::read_default);
        reply_source(&mut source, &default_outcome, consumer.browse);
        let id = ConsumerId::new(self.id, link.0);
        // Kept with every failure and exclusion, so not at the length the peer chose.
        let short = |name: &str| outcome::cut(name.to_owned(), limits::IDENTITY_BYTES);
        let who = format!("{}/{}", short(&self.peer.container_id), short(&attach.name));
        let subscribe = Subscribe {
            consumer: id,
            dead_letter: place.dead_letter,
            // Not durable: exclusions are for this link endpoint alone, so it gets a name of its own.
            endpoint: format!("{who}#{}", id.0),
            identity: format!("{who} ({})", short(&self.peer.user)).into(),
            browse: consumer.browse,
            filter,
            presettled: consumer.presettled,
            default_outcome,
            delivery_count: 0,
            room_messages: limits::CONSUMER_ROOM_MESSAGES,
            room_bytes: limits::CONSUMER_ROOM_BYTES,
        };
        let reply =
            AttachReply { source: Some(Box::new(source)), target: attach.target, ..AttachReply::default() };
        self.engine.accept_attach(link, reply);
        self.enter(link, Link::Consumer(consumer));
        host.send(place.node, Command::Subscribe(Box::new(subscribe)));
        Ok(())
    }
}

fn consumer_place(source: &mut Source, host: &mut dyn Host) -> Result<(Place, Option<QueueId>), Error> {
    if source.dynamic {
        no_address(source.address.as_deref())?;
        let lifetime = lifetime_of(source.dynamic_node_properties.as_ref());
        let (address, node) = host.create_dynamic(lifetime)?;
        source.address = Some(address);
        let delete = (lifetime == Lifetime::DeleteOnClose).then_some(node);
        return Ok((Place { node, dead_letter: false }, delete));
    }
    let Some(address) = &source.address else {
        return Err(invalid("source.address is null and source.dynamic is not set, expected one of them"));
    };
    Ok((host.resolve(address, wish(source.capabilities.as_ref()))?, None))
}

/// The source as it is in force: settlement.md, attach; and 3.5.3 for what is not supported.
pub(super) fn reply_source(source: &mut Source, default_outcome: &Outcome, browse: bool) {
    source.default_outcome = Some(outcome::write_default(default_outcome));
    if source.outcomes.as_ref().is_none_or(|symbols| symbols.0.is_empty()) {
        source.outcomes =
            Some(Array(crate::amqp::codec::OUTCOMES.iter().map(|name| Symbol::from(*name)).collect()));
    }
    source.distribution_mode = Some(if browse { DistributionMode::Copy } else { DistributionMode::Move });
    volatile(&mut source.durable, &mut source.expiry_policy, &mut source.timeout);
}

/// Terminus state does not outlive the link yet, and the reply says so (3.5.5, 3.5.6).
fn volatile(durable: &mut TerminusDurability, expiry: &mut TerminusExpiryPolicy, timeout: &mut u32) {
    *durable = TerminusDurability::None;
    *expiry = TerminusExpiryPolicy::LinkDetach;
    *timeout = 0;
}

/// 3.5.3: a dynamic terminus comes without an address.
fn no_address(address: Option<&str>) -> Result<(), Error> {
    match address {
        None | Some("") => Ok(()),
        Some(address) => {
            Err(invalid(&format!("a dynamic terminus came with address {address:?}, expected none")))
        }
    }
}

/// The node property lifetime-policy (3.5.10 to 3.5.13); delete-on-close where none is given.
fn lifetime_of(properties: Option<&fe2o3_amqp_types::definitions::Fields>) -> Lifetime {
    let Some(Value::Described(policy)) = properties.and_then(|map| map.get(&Symbol::from("lifetime-policy")))
    else {
        return Lifetime::DeleteOnClose;
    };
    match &policy.descriptor {
        Descriptor::Code(0x2c) => Lifetime::DeleteOnNoLinks,
        Descriptor::Code(0x2d) => Lifetime::DeleteOnNoMessages,
        Descriptor::Code(0x2e) => Lifetime::DeleteOnNoLinksOrMessages,
        Descriptor::Name(name) if name.as_str() == "amqp:delete-on-no-links:list" => {
            Lifetime::DeleteOnNoLinks
        }
        Descriptor::Name(name) if name.as_str() == "amqp:delete-on-no-messages:list" => {
            Lifetime::DeleteOnNoMessages
        }
        Descriptor::Name(name) if name.as_str() == "amqp:delete-on-no-links-or-messages:list" => {
            Lifetime::DeleteOnNoLinksOrMessages
        }
        _ => Lifetime::DeleteOnClose,
    }
}

fn wish(capabilities: Option<&Array<Symbol>>) -> Wish {
    let topic = capabilities.is_some_and(|symbols| {
        symbols.0.iter().any(|symbol| matches!(symbol.as_str(), "topic" | "temporary-topic"))
    });
    Wish { topic, ..Wish::default() }
}

fn invalid(why: &str) -> Error {
    NoPlace::Invalid(why.to_owned()).into()
}

fn not_implemented(why: &str) -> Error {
    NoPlace::NotImplemented(why.to_owned()).into()
}
