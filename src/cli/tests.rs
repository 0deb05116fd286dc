//! Tests of the command line: what parses, what is refused and in which words.

mod fake;
mod managed;
mod managed_dead;
mod top;
mod words;

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use clap_complete::Shell;
use fe2o3_amqp_types::{
    definitions::{self, AmqpError},
    messaging::{
        Accepted, AmqpValue, Body, Data, Header, Message, MessageAnnotations, Outcome, Properties, Rejected,
    },
    primitives::{Binary, Symbol, Value},
};

use super::{Cli, Command, completions, send, serve, show, url::Url};
use crate::config::Config;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
}

fn serve_args(line: &str) -> serve::Args {
    match parse(line) {
        Ok(Command::Serve(args)) => args,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn usage_errors_end_with_code_2() {
    let table = [
        ("verdict", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("verdict fly", ErrorKind::InvalidSubcommand),
        ("verdict serve --listen 5672", ErrorKind::ValueValidation),
        ("verdict serve --port 5672", ErrorKind::UnknownArgument),
        ("verdict serve --http 8672", ErrorKind::ValueValidation),
        ("verdict reload --pid 0", ErrorKind::ValueValidation),
        ("verdict reload --pid 1 --data d", ErrorKind::ArgumentConflict),
        ("verdict send", ErrorKind::MissingRequiredArgument),
        ("verdict send q --count 0", ErrorKind::ValueValidation),
        ("verdict send q --body x --size 3", ErrorKind::ArgumentConflict),
        ("verdict send q --size 2GiB", ErrorKind::ValueValidation),
        ("verdict send q --priority 10", ErrorKind::ValueValidation),
        ("verdict send q --ttl soon", ErrorKind::ValueValidation),
        ("verdict send q --property novalue", ErrorKind::ValueValidation),
        ("verdict send q --url amqps://h", ErrorKind::ValueValidation),
        ("verdict receive q --outcome maybe", ErrorKind::InvalidValue),
        ("verdict receive q --browse --outcome failed", ErrorKind::ArgumentConflict),
        ("verdict receive q --description x", ErrorKind::MissingRequiredArgument),
        ("verdict receive q --credit 0", ErrorKind::ValueValidation),
        ("verdict queue", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("verdict queue create q --set novalue", ErrorKind::ValueValidation),
        ("verdict queue delete q --yes", ErrorKind::MissingRequiredArgument),
        ("verdict queue breaker q ajar", ErrorKind::InvalidValue),
        ("verdict dead-letter ls q --since yesterday", ErrorKind::ValueValidation),
        ("verdict dead-letter ls q --reason why", ErrorKind::InvalidValue),
        ("verdict dead-letter ls q --limit 0", ErrorKind::ValueValidation),
        ("verdict dead-letter show q", ErrorKind::MissingRequiredArgument),
        ("verdict dead-letter show q 1 --message-id m", ErrorKind::ArgumentConflict),
        ("verdict dead-letter replay q --rate 0", ErrorKind::ValueValidation),
        ("verdict dead-letter replay q --dry-run --detach", ErrorKind::ArgumentConflict),
        ("verdict explain", ErrorKind::MissingRequiredArgument),
        ("verdict explain m --message-id m", ErrorKind::ArgumentConflict),
        ("verdict connection close all", ErrorKind::ValueValidation),
        ("verdict top --interval 1ms", ErrorKind::ValueValidation),
        ("verdict top -n 0", ErrorKind::ValueValidation),
        ("verdict completions cmd", ErrorKind::InvalidValue),
        ("verdict receive q --filter", ErrorKind::InvalidValue),
    ];
    for (line, kind) in table {
        let error = parse(line).expect_err(line);
        assert_eq!(error.kind(), kind, "{line}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn good_command_lines_are_taken() {
    for line in [
        "verdict serve --listen 127.0.0.1:0 --listen [::1]:5672 --data d --config f",
        "verdict send q --size 16KiB --count 10 --message-id m-%d --non-durable --ttl 1h --priority 9 --quiet",
        "verdict send q --property a=b --property c=d=e --group-id g --subject s --reply-to r --durable",
        "verdict receive q --count 3 --timeout 1.5s --outcome rejected --condition app:x --description why",
        "verdict receive q/$deadletter --browse --credit 5 --format json --timeout 2",
        "verdict serve --http 127.0.0.1:8672",
        "verdict serve --http off",
        "verdict reload",
        "verdict reload --pid 17",
        "verdict queue --json ls",
        "verdict queue ls o* --json --url amqp://h",
        "verdict queue update q --set a=1 --unset b --unset c.d",
        "verdict queue breaker q open --for 5m",
        "verdict dead-letter replay q --all --canary --rate 10 --limit 3 --id x",
        "verdict dead-letter purge q --until 30d --yes",
        "verdict dead-letter export q - --seq 1 --seq 2",
        "verdict dead-letter import q -",
        "verdict explain --queue q --message-id 7",
        "verdict connection close 7 --description bye",
        "verdict consumer ls q",
        "verdict replay stop x",
        "verdict top o* --interval 500ms --sort dead --batch -n 2",
        "verdict check dir",
        "verdict check",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn every_shell_gets_every_command() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
        let script = completions::script(shell);
        for word in ["dead-letter", "min-attempts", "completions"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn every_option_is_explained_and_every_command_has_an_example() {
    fn walk(path: &str, command: &clap::Command) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path}");
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            assert!(arg.get_help().is_some(), "{path}: {}", arg.get_id());
        }
        command.get_subcommands().for_each(|inner| walk(&path, inner));
    }
    let command = Cli::command();
    walk("", &command);
    for name in ["queue", "dead-letter", "explain", "replay", "connection", "consumer", "top", "completions"]
    {
        let help = command.find_subcommand(name).and_then(clap::Command::get_after_help);
        assert!(help.is_some_and(|help| help.to_string().contains("Examples:")), "{name}");
    }
}

#[test]
fn serve_without_flags_is_the_default() {
    assert_eq!(serve_args("verdict serve").into_config().unwrap(), Config::default());
}

#[test]
fn serve_flags_go_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "listen = \"0.0.0.0:1\"\ndata = \"from-file\"\nthreads = 1").unwrap();
    let line = format!("verdict serve --listen 127.0.0.1:2 --config {}", file.display());
    let config = serve_args(&line).into_config().unwrap();
    assert_eq!(config.listen, ["127.0.0.1:2"]);
    assert_eq!(config.data.to_str(), Some("from-file"));
    assert_eq!(config.threads.map(std::num::NonZero::get), Some(1));
}

#[test]
fn wrong_configuration_ends_with_code_2_and_names_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "\nthreads = \"all\"").unwrap();
    let failure =
        serve_args(&format!("verdict serve --config {}", file.display())).into_config().unwrap_err();
    assert_eq!(failure.exit_code(), std::process::ExitCode::from(2));
    let expected = format!(
        "{} has 1 problem\n  line 2: threads = \"all\": expected a whole number from 1 to 1024",
        file.display()
    );
    assert_eq!(failure.message(), expected);
}

#[test]
fn configuration_that_is_not_there_says_so() {
    let failure = serve_args("verdict serve --config no/such/file").into_config().unwrap_err();
    assert!(failure.message().starts_with("cannot read no/such/file: "), "{}", failure.message());
}

#[test]
fn urls() {
    let url = |text: &str| text.parse::<Url>().map(|url| (url.host, url.port, url.user));
    let user = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
    assert_eq!(url("amqp://h"), Ok(("h".to_owned(), 5672, None)));
    assert_eq!(url("h:1"), Ok(("h".to_owned(), 1, None)));
    assert_eq!(url("amqp://u:p@h:1/"), Ok(("h".to_owned(), 1, user("u", "p"))));
    assert_eq!(url("amqp://u%40x:p%3a@h"), Ok(("h".to_owned(), 5672, user("u@x", "p:"))));
    assert_eq!(url("amqp://u@h"), Ok(("h".to_owned(), 5672, user("u", ""))));
    assert_eq!(url("amqp://[::1]:2"), Ok(("::1".to_owned(), 2, None)));
    assert_eq!(url("amqp://[::1]"), Ok(("::1".to_owned(), 5672, None)));
    for wrong in
        ["", "amqp://", "http://h", "amqps://h", "h:port", "h:70000", "amqp://%@h", "[::1]5", "h/path"]
    {
        assert!(url(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn url_with_a_path_says_that_it_has_one() {
    let why = "amqp://h/vhost".parse::<Url>().unwrap_err();
    assert_eq!(
        why,
        "expected amqp://[USER:PASSWORD@]HOST[:PORT], got a path, /vhost; a queue is named on its own"
    );
}

#[test]
fn index_library_is_quiet_unless_asked_for() {
    assert_eq!(serve::directives("debug"), "sled=error,debug");
    assert_eq!(serve::directives("info,sled=trace"), "info,sled=trace");
}

#[test]
fn urls_are_shown_without_the_password() {
    let url: Url = "amqp://me:secret@[::1]:2".parse().unwrap();
    assert_eq!(url.to_string(), "amqp://me@[::1]:2");
    assert_eq!(format!("{url:?}"), "amqp://me@[::1]:2");
}

#[test]
fn outcomes_in_words() {
    assert_eq!(send::outcome_text(&Outcome::Accepted(Accepted {})), "accepted");
    let error =
        definitions::Error::new(AmqpError::ResourceLimitExceeded, Some("queue full".to_owned()), None);
    let rejected = Outcome::Rejected(Rejected { error: Some(error) });
    assert_eq!(send::outcome_text(&rejected), "rejected: amqp:resource-limit-exceeded: queue full");
}

fn message(body: Body<Value>) -> Message<Body<Value>> {
    Message {
        header: Some(Header { durable: true, delivery_count: 2, ..Header::default() }),
        delivery_annotations: None,
        message_annotations: Some(
            MessageAnnotations::builder().insert(Symbol::from("x-opt-acquired-count"), 3u32).build(),
        ),
        properties: Some(Properties { subject: Some("s".to_owned()), ..Properties::default() }),
        application_properties: None,
        body,
        footer: None,
    }
}

#[test]
fn message_as_json_is_one_object_on_one_line() {
    let text = show::json(&message(Body::Value(AmqpValue(Value::String("a\nb".to_owned())))));
    assert!(!text.contains('\n'));
    let got: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "body": "a\nb", "delivery-count": 2, "durable": true, "priority": 4, "first-acquirer": false,
        "message-annotations": { "x-opt-acquired-count": 3 }, "properties": { "subject": "s" },
    });
    assert_eq!(got, expected);
}

#[test]
fn message_as_text_shows_counts_and_annotations() {
    let text = show::text(1, &message(Body::from(Data(Binary::from(b"hi".to_vec())))));
    assert_eq!(text, "1: hi\n   delivery-count: 2\n   x-opt-acquired-count: 3\n   subject: s");
}

#[test]
fn message_as_text_moves_no_cursor() {
    let text = show::text(1, &message(Body::Value(AmqpValue(Value::String("\u{1b}[2J".to_owned())))));
    assert!(text.starts_with("1: \\u{1b}[2J"), "{text}");
}

#[test]
fn binary_body_is_shown_in_hex() {
    let text = show::text(1, &message(Body::from(Data(Binary::from(vec![0xff, 0])))));
    assert!(text.starts_with("1: 0xff00\n"), "{text}");
}
