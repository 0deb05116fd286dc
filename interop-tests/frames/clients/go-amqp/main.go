// go-amqp: one call for one message, then a clean close.
//
// usage: frames-go-amqp SCENARIO URL QUEUE
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/go-amqp"
)

type call func(ctx context.Context, r *amqp.Receiver, m *amqp.Message) error

func modify(options *amqp.ModifyMessageOptions) call {
	return func(ctx context.Context, r *amqp.Receiver, m *amqp.Message) error {
		return r.ModifyMessage(ctx, m, options)
	}
}

func failed(annotations amqp.Annotations) call {
	return modify(&amqp.ModifyMessageOptions{DeliveryFailed: true, Annotations: annotations})
}

func accept(ctx context.Context, r *amqp.Receiver, m *amqp.Message) error {
	return r.AcceptMessage(ctx, m)
}

func release(ctx context.Context, r *amqp.Receiver, m *amqp.Message) error {
	return r.ReleaseMessage(ctx, m)
}

func reject(err *amqp.Error) call {
	return func(ctx context.Context, r *amqp.Receiver, m *amqp.Message) error {
		return r.RejectMessage(ctx, m, err)
	}
}

var calls = map[string]call{
	"accept":  accept,
	"release": release,
	"reject":  reject(nil),
	"reject-error": reject(&amqp.Error{
		Condition:   "app:bad",
		Description: "no such customer",
		Info:        map[string]any{"field": "customer"},
	}),
	"modified":             modify(nil),
	"failed":               modify(&amqp.ModifyMessageOptions{DeliveryFailed: true}),
	"failed-undeliverable": modify(&amqp.ModifyMessageOptions{DeliveryFailed: true, UndeliverableHere: true}),
	"annotations":          failed(amqp.Annotations{"x-note": "slow"}),
	"reason": failed(amqp.Annotations{
		"x-opt-error-condition":   "app:parse-error",
		"x-opt-error-description": "line 3: expected a number",
	}),
	"delay":          failed(amqp.Annotations{"x-opt-delivery-delay": int64(300)}),
	"second-accept":  accept,
	"second-release": release,
	"second-failed":  modify(&amqp.ModifyMessageOptions{DeliveryFailed: true}),
	"close-link": func(ctx context.Context, r *amqp.Receiver, _ *amqp.Message) error {
		return r.Close(ctx)
	},
	"close": func(context.Context, *amqp.Receiver, *amqp.Message) error { return nil },
	"drop": func(context.Context, *amqp.Receiver, *amqp.Message) error {
		os.Exit(0)
		return nil
	},
}

func run(scenario, url, queue string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	act, known := calls[scenario]
	if !known {
		return fmt.Errorf("unknown scenario %q", scenario)
	}
	connection, err := amqp.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	session, err := connection.NewSession(ctx, nil)
	if err != nil {
		return err
	}
	options := &amqp.ReceiverOptions{}
	if strings.HasPrefix(scenario, "second") {
		options.SettlementMode = amqp.ReceiverSettleModeSecond.Ptr()
	}
	receiver, err := session.NewReceiver(ctx, queue, options)
	if err != nil {
		return err
	}
	message, err := receiver.Receive(ctx, nil)
	if err != nil {
		return err
	}
	if err := act(ctx, receiver, message); err != nil {
		return err
	}
	return connection.Close()
}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
