// Qpid JMS: one way to receive one or two messages, then a clean close.
//
// usage: java Client SCENARIO URL QUEUE

import jakarta.jms.Connection;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Queue;
import jakarta.jms.Session;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.qpid.jms.JmsConnectionFactory;

public final class Client {
    static final int INDIVIDUAL = 101;
    static final int NO_ACKNOWLEDGE = 257;
    static final long WAIT_LIMIT_MS = 10_000;

    /** What the messages of a scenario are there for. */
    interface Call {
        void on(Session session, MessageConsumer consumer, Queue queue) throws Exception;
    }

    record Scenario(int mode, String options, Call call) {
        Scenario(int mode, Call call) {
            this(mode, "", call);
        }
    }

    static Message next(MessageConsumer consumer) throws JMSException {
        Message message = consumer.receive(WAIT_LIMIT_MS);
        if (message == null) throw new IllegalStateException("no message came");
        return message;
    }

    /** The acknowledgement of one message with JMS_AMQP_ACK_TYPE. */
    static Call answer(int type) {
        return (session, consumer, queue) -> {
            Message message = next(consumer);
            message.setIntProperty("JMS_AMQP_ACK_TYPE", type);
            message.acknowledge();
        };
    }

    static final Call RECEIVE = (session, consumer, queue) -> next(consumer);
    static final Call RECEIVE_TWO = (session, consumer, queue) -> {
        next(consumer);
        next(consumer);
    };
    static final Call NOTHING_THEN_CLOSE_SESSION = (session, consumer, queue) -> {
        next(consumer);
        session.close();
    };
    static final Call NOTHING_THEN_CLOSE_CONSUMER = (session, consumer, queue) -> {
        next(consumer);
        consumer.close();
    };
    static final Call ACKNOWLEDGE_LAST_OF_TWO = (session, consumer, queue) -> {
        next(consumer);
        next(consumer).acknowledge();
    };
    static final Call RECOVER_THEN_ACKNOWLEDGE = (session, consumer, queue) -> {
        next(consumer);
        session.recover();
        next(consumer).acknowledge();
    };
    static final Call RECOVER_THEN_CLOSE = (session, consumer, queue) -> {
        next(consumer);
        session.recover();
    };
    /** Nothing is handed out: the policy, or the clock, is against it. */
    static final Call NONE_COMES = (session, consumer, queue) -> {
        if (consumer.receive(500) != null) throw new IllegalStateException("got a message, expected none");
    };
    static final Call EXPIRED = (session, consumer, queue) -> {
        MessageProducer producer = session.createProducer(queue);
        producer.setTimeToLive(2000);
        producer.send(session.createTextMessage("m0"));
        // Prefetched in time, asked for too late: there is nothing to wait for but the time itself.
        Thread.sleep(2100);
        NONE_COMES.on(session, consumer, queue);
    };
    static final Call RECOVER_UNTIL_THE_POLICY = (session, consumer, queue) -> {
        for (int attempt = 0; attempt < 3; attempt++) {
            next(consumer);
            session.recover();
        }
        NONE_COMES.on(session, consumer, queue);
    };
    /** A listener that throws; the connection is closed once it has. */
    static final Call LISTENER_THROWS = (session, consumer, queue) -> {
        CountDownLatch called = new CountDownLatch(1);
        consumer.setMessageListener(message -> {
            called.countDown();
            throw new IllegalStateException("the listener failed");
        });
        called.await(WAIT_LIMIT_MS, TimeUnit.MILLISECONDS);
    };

    /** A listener that throws on the first message and takes what comes after that. */
    static final Call LISTENER_THROWS_ONCE = (session, consumer, queue) -> {
        AtomicInteger calls = new AtomicInteger();
        CountDownLatch second = new CountDownLatch(1);
        consumer.setMessageListener(message -> {
            if (calls.incrementAndGet() == 1) throw new IllegalStateException("the listener failed");
            second.countDown();
        });
        second.await(WAIT_LIMIT_MS, TimeUnit.MILLISECONDS);
    };
    /** A listener that recovers the session on the first message and takes what comes after that. */
    static final Call LISTENER_RECOVERS_ONCE = (session, consumer, queue) -> {
        AtomicInteger calls = new AtomicInteger();
        CountDownLatch second = new CountDownLatch(1);
        consumer.setMessageListener(message -> {
            try {
                if (calls.incrementAndGet() == 1) session.recover();
                else second.countDown();
            } catch (JMSException error) {
                throw new IllegalStateException(error);
            }
        });
        second.await(WAIT_LIMIT_MS, TimeUnit.MILLISECONDS);
    };
    static final Call LOSE = (session, consumer, queue) -> {
        next(consumer);
        Runtime.getRuntime().halt(0);
    };

    static final int AUTO = Session.AUTO_ACKNOWLEDGE;
    static final int CLIENT = Session.CLIENT_ACKNOWLEDGE;
    /** What is given back comes again at once, to whoever has credit: without prefetch, nobody has. */
    static final String PULL = "jms.prefetchPolicy.all=0";
    static final String POLICY = "jms.redeliveryPolicy.maxRedeliveries=2";
    static final String POLICY_REJECTED = POLICY + "&jms.redeliveryPolicy.outcome=REJECTED";

    static Scenario scenario(String name) {
        return switch (name) {
            case "auto" -> new Scenario(AUTO, RECEIVE);
            case "auto-prefetched" -> new Scenario(AUTO, RECEIVE);
            case "auto-listener-throws" -> new Scenario(AUTO, LISTENER_THROWS_ONCE);
            case "auto-listener-recovers" -> new Scenario(AUTO, LISTENER_RECOVERS_ONCE);
            case "auto-expired" -> new Scenario(AUTO, EXPIRED);
            case "dups-ok" -> new Scenario(Session.DUPS_OK_ACKNOWLEDGE, RECEIVE_TWO);
            case "dups-ok-listener-throws" -> new Scenario(Session.DUPS_OK_ACKNOWLEDGE, LISTENER_THROWS_ONCE);
            case "client" -> new Scenario(CLIENT, ACKNOWLEDGE_LAST_OF_TWO);
            case "client-failed" -> new Scenario(CLIENT, PULL, answer(4));
            case "client-listener-throws" -> new Scenario(CLIENT, LISTENER_THROWS);
            case "client-recover" -> new Scenario(CLIENT, RECOVER_THEN_ACKNOWLEDGE);
            case "client-recover-close" -> new Scenario(CLIENT, PULL, RECOVER_THEN_CLOSE);
            case "client-recover-policy" -> new Scenario(CLIENT, POLICY_REJECTED, RECOVER_UNTIL_THE_POLICY);
            case "client-close" -> new Scenario(CLIENT, PULL, RECEIVE);
            case "client-close-session" -> new Scenario(CLIENT, PULL, NOTHING_THEN_CLOSE_SESSION);
            case "client-close-consumer" -> new Scenario(CLIENT, PULL, NOTHING_THEN_CLOSE_CONSUMER);
            case "client-drop" -> new Scenario(CLIENT, LOSE);
            case "individual" -> new Scenario(INDIVIDUAL, ACKNOWLEDGE_LAST_OF_TWO);
            case "individual-accepted" -> new Scenario(INDIVIDUAL, answer(1));
            case "individual-rejected" -> new Scenario(INDIVIDUAL, answer(2));
            case "individual-released" -> new Scenario(INDIVIDUAL, PULL, answer(3));
            case "individual-failed" -> new Scenario(INDIVIDUAL, PULL, answer(4));
            case "individual-failed-undeliverable" -> new Scenario(INDIVIDUAL, PULL, answer(5));
            case "individual-recover-close" -> new Scenario(INDIVIDUAL, PULL, RECOVER_THEN_CLOSE);
            case "none" -> new Scenario(NO_ACKNOWLEDGE, RECEIVE);
            case "redelivery-policy" -> new Scenario(AUTO, POLICY, NONE_COMES);
            case "redelivery-policy-rejected" -> new Scenario(AUTO, POLICY_REJECTED, NONE_COMES);
            case "redelivery-policy-within" -> new Scenario(AUTO, POLICY, RECEIVE);
            case "transacted" -> new Scenario(Session.SESSION_TRANSACTED, RECEIVE);
            default -> throw new IllegalArgumentException("unknown scenario " + name);
        };
    }

    public static void main(String[] words) throws Exception {
        Scenario scenario = scenario(words[0]);
        var factory = new JmsConnectionFactory(words[1] + (scenario.options.isEmpty() ? "" : "?" + scenario.options));
        try (Connection connection = factory.createConnection()) {
            Session session = connection.createSession(scenario.mode);
            Queue queue = session.createQueue(words[2]);
            MessageConsumer consumer = session.createConsumer(queue);
            connection.start();
            scenario.call.on(session, consumer, queue);
        } catch (JMSException error) {
            // What the client library says of it is part of the story.
            System.out.println(error.getClass().getSimpleName() + ": " + error.getMessage());
            System.exit(3);
        }
    }
}
