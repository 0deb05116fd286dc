//! Our encoding read by serde_amqp, and serde_amqp's read by us: equal fields both ways.

use fe2o3_amqp_types::{
    definitions::{DeliveryTag, Handle, ReceiverSettleMode},
    performatives as theirs,
};
use proptest::{collection::vec, option, prelude::*};
use serde_amqp::{from_slice, to_vec};

use super::{
    bytes,
    strategy::{array, disposition, edgy_u32, fields, flow, scalar, state, value},
};
use crate::amqp::codec::{
    Performative, Transfer, decode, decode_fields, decode_state, decode_value, encode_disposition,
    encode_fields, encode_flow, encode_state, encode_transfer, encode_value, from_wire, to_wire, validate,
};

type TransferNumbers = (u32, Option<u32>, Option<u32>);

fn their_transfer(transfer: &Transfer<'_>) -> theirs::Transfer {
    theirs::Transfer {
        handle: Handle(transfer.handle),
        delivery_id: transfer.delivery_id,
        delivery_tag: transfer.delivery_tag.map(DeliveryTag::from),
        message_format: transfer.message_format,
        settled: transfer.settled,
        more: transfer.more,
        rcv_settle_mode: transfer.rcv_settle_mode.map(|mode| match mode {
            0 => ReceiverSettleMode::First,
            _ => ReceiverSettleMode::Second,
        }),
        state: transfer.state.as_ref().and_then(|state| to_wire(state).ok()),
        resume: transfer.resume,
        aborted: transfer.aborted,
        batchable: transfer.batchable,
    }
}

proptest! {
    #[test]
    fn transfers(
        (handle, delivery_id, message_format) in any::<TransferNumbers>(),
        tag in option::of(vec(any::<u8>(), 0..40)),
        flags in any::<[bool; 4]>(),
        settled in any::<Option<bool>>(),
        rcv_settle_mode in option::of(0..2_u8),
        state in option::of(state()),
    ) {
        let ours = Transfer {
            handle, delivery_id, message_format, settled, rcv_settle_mode, state,
            delivery_tag: tag.as_deref(),
            more: flags[0], resume: flags[1], aborted: flags[2], batchable: flags[3],
        };
        let theirs = their_transfer(&ours);
        let encoded = bytes(|out| encode_transfer(&ours, out));
        prop_assert_eq!(&from_slice::<theirs::Transfer>(&encoded).expect("theirs"), &theirs);
        prop_assert_eq!(validate(&encoded), Ok(encoded.len()));
        let encoded = to_vec(&theirs).expect("theirs");
        prop_assert_eq!(decode(&encoded), Ok((Performative::Transfer(ours), encoded.len())));
    }

    #[test]
    fn dispositions(ours in disposition()) {
        let theirs = theirs::Disposition {
            role: ours.role.clone(),
            first: ours.first,
            last: ours.last,
            settled: ours.settled,
            state: ours.state.as_ref().and_then(|state| to_wire(state).ok()),
            batchable: ours.batchable,
        };
        let encoded = bytes(|out| encode_disposition(&ours, out));
        prop_assert_eq!(&from_slice::<theirs::Disposition>(&encoded).expect("theirs"), &theirs);
        let encoded = to_vec(&theirs).expect("theirs");
        prop_assert_eq!(decode(&encoded), Ok((Performative::Disposition(ours), encoded.len())));
    }

    #[test]
    fn flows(ours in flow()) {
        let theirs = theirs::Flow {
            next_incoming_id: ours.next_incoming_id,
            incoming_window: ours.incoming_window,
            next_outgoing_id: ours.next_outgoing_id,
            outgoing_window: ours.outgoing_window,
            handle: ours.handle.map(Handle),
            delivery_count: ours.delivery_count,
            link_credit: ours.link_credit,
            available: ours.available,
            drain: ours.drain,
            echo: ours.echo,
            properties: ours.properties.as_deref().cloned(),
        };
        let encoded = bytes(|out| encode_flow(&ours, out));
        prop_assert_eq!(&from_slice::<theirs::Flow>(&encoded).expect("theirs"), &theirs);
        let encoded = to_vec(&theirs).expect("theirs");
        prop_assert_eq!(decode(&encoded), Ok((Performative::Flow(ours), encoded.len())));
    }

    #[test]
    fn opens(
        container_id in "\\PC{0,20}",
        hostname in option::of("\\PC{0,300}"),
        max_frame_size in edgy_u32(),
        channel_max in any::<u16>(),
        idle_time_out in option::of(edgy_u32()),
        names in option::of(vec("[a-z]{0,9}", 1..4)),
        properties in option::of(fields()),
    ) {
        let names = names.map(|names| names.into_iter().map(Into::into).collect::<Vec<_>>().into());
        let open = theirs::Open {
            container_id,
            hostname,
            max_frame_size: max_frame_size.into(),
            channel_max: channel_max.into(),
            idle_time_out,
            outgoing_locales: None,
            incoming_locales: names.clone(),
            offered_capabilities: names,
            desired_capabilities: None,
            properties,
        };
        let encoded = bytes(|out| crate::amqp::codec::encode_open(&open, out));
        prop_assert_eq!(&from_slice::<theirs::Open>(&encoded).expect("theirs"), &open);
        let encoded = to_vec(&open).expect("theirs");
        prop_assert_eq!(decode(&encoded), Ok((Performative::Open(Box::new(open)), encoded.len())));
    }

    #[test]
    fn states(ours in state()) {
        let theirs = to_wire(&ours).expect("known");
        prop_assert_eq!(&from_wire(&theirs), &ours);
        let encoded = bytes(|out| encode_state(&ours, out));
        let read: fe2o3_amqp_types::messaging::DeliveryState = from_slice(&encoded).expect("theirs");
        prop_assert_eq!(&read, &theirs);
        prop_assert_eq!(decode_state(&to_vec(&theirs).expect("theirs")), Ok(ours));
    }

    #[test]
    fn values(value in value()) {
        let ours = bytes(|out| encode_value(&value, out));
        prop_assert_eq!(validate(&ours), Ok(ours.len()));
        prop_assert_eq!(&from_slice::<serde_amqp::Value>(&ours).expect("theirs"), &value);
        let theirs = to_vec(&value).expect("theirs");
        prop_assert_eq!(validate(&theirs), Ok(theirs.len()));
        prop_assert_eq!(decode_value(&theirs), Ok(value));
    }

    /// Strings of ASCII only: of others in an array serde_amqp writes a length in characters, not bytes.
    /// No nulls: it repeats the constructor for each.
    #[test]
    fn arrays_of_scalars(values in vec(scalar(), 1..5).prop_filter("one type", |values| {
        let readable = |value: &serde_amqp::Value| match value {
            serde_amqp::Value::String(text) => text.is_ascii(),
            value => *value != serde_amqp::Value::Null,
        };
        values.iter().all(|value| value.format_code() == values[0].format_code() && readable(value))
    })) {
        let array = serde_amqp::Value::Array(values.into());
        let theirs = to_vec(&array).expect("theirs");
        prop_assert_eq!(validate(&theirs), Ok(theirs.len()));
        prop_assert_eq!(decode_value(&theirs), Ok(array));
    }

    /// serde_amqp does not write these so that they can be read: our own encoding alone.
    #[test]
    fn arrays_of_anything(array in array()) {
        let encoded = bytes(|out| encode_value(&array, out));
        prop_assert_eq!(validate(&encoded), Ok(encoded.len()));
        prop_assert_eq!(decode_value(&encoded), Ok(array));
    }

    #[test]
    fn maps_of_fields(fields in fields()) {
        let encoded = bytes(|out| encode_fields(&fields, out));
        prop_assert_eq!(decode_fields("fields", &encoded), Ok(fields));
    }
}
