// rhea: one call for one message, then a clean close.
//
// usage: node client.js SCENARIO URL QUEUE      (rhea is found through NODE_PATH)
'use strict';

const rhea = require('rhea');

const [scenario, url, queue] = process.argv.slice(2);
const { hostname, port } = new URL(url);

const error = { condition: 'app:bad', description: 'no such customer', info: { field: 'customer' } };
const reason = { 'x-opt-error-condition': 'app:parse-error', 'x-opt-error-description': 'line 3: expected a number' };
const failed = (annotations) => ({ delivery_failed: true, message_annotations: annotations });

const calls = {
  'accept': (d) => d.accept(),
  'reject': (d) => d.reject(),
  'reject-error': (d) => d.reject(error),
  'release': (d) => d.release(),
  'release-params': (d) => d.release({ delivery_failed: true, undeliverable_here: true }),
  'modified': (d) => d.modified(),
  'failed': (d) => d.modified({ delivery_failed: true }),
  'failed-undeliverable': (d) => d.modified({ delivery_failed: true, undeliverable_here: true }),
  'annotations': (d) => d.modified(failed({ 'x-note': 'slow' })),
  'reason': (d) => d.modified(failed(reason)),
  'delay': (d) => d.modified(failed({ 'x-opt-delivery-delay': 300 })),
  'settle': (d) => d.update(true),
  'second-accept': (d) => d.accept(),
  'close-link': (d, receiver) => receiver.close(),
  'close': () => {},
  'drop': () => process.exit(0),
  'auto-accept': () => {},
  'auto-accept-reject': (d) => d.reject(error),
  'auto-accept-reject-later': (d) => setImmediate(() => d.reject(error)),
  'auto-accept-throw': () => { throw new Error('the handler failed'); },
};

const second = scenario.startsWith('second');
const options = { source: queue };
if (!scenario.startsWith('auto-accept')) options.autoaccept = false;
if (second) options.rcv_settle_mode = 1;

const connection = rhea.connect({ host: hostname, port: Number(port), reconnect: false });
const receiver = connection.open_receiver(options);
receiver.once('message', (context) => {
  if (scenario === 'auto-accept-throw') process.once('uncaughtException', () => process.exit(0));
  calls[scenario](context.delivery, context.receiver);
  if (!second) setImmediate(() => connection.close());
});
// Second mode: the delivery is settled when the broker says so.
receiver.once('settled', () => setImmediate(() => connection.close()));
