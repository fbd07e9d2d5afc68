//! `heddle application`, `heddle attempt` and `heddle container`: YARN's commands for what runs, and why something waits.
//! Owns: what is asked and what the answers mean for the exit code. Called by: `cli::main`. Thread: main.
//! Does not: format reports (`report` does), or walk pages (`client` does).

mod report;

use core::time::Duration;

use clap::{Args, Subcommand};
use heddle_wire::application_client::{ApplicationsRequestScope, GetApplicationsRequest};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, ApplicationSubmissionContext, ContainerId, ContainerLaunchContext,
    Resource, SignalContainerCommand, YarnApplicationState,
};
use serde_json::json;

use super::connection::ConnectionArgs;
use super::error::{CliError, Exit};
use super::number::whole;
use super::output::{self, Format};
use crate::client::ApplicationClient;

/// How often a state is asked for while waiting, as YARN's client does.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// `heddle application …`
#[derive(Debug, Subcommand)]
pub(super) enum ApplicationCommand {
    /// List applications: those that are SUBMITTED, ACCEPTED or RUNNING, unless asked otherwise.
    List(ListArgs),
    /// All there is to know about an application.
    Status(OneArgs),
    /// Why an application waits: the limit each of its asks runs into, with numbers and since when.
    Explain(ExplainArgs),
    /// Submit an application, and wait until its queue has accepted it.
    Submit(Box<SubmitArgs>),
    /// Kill applications, and wait until they have ended.
    Kill(KillArgs),
    /// Move an application to another queue.
    Move(MoveArgs),
    /// Change an application's priority.
    Priority(PriorityArgs),
    /// Set how much longer an application may run.
    Lifetime(LifetimeArgs),
}

/// `heddle attempt …`
#[derive(Debug, Subcommand)]
pub(super) enum AttemptCommand {
    /// List the attempts of an application.
    List(OneArgs),
    /// All there is to know about an attempt.
    Status(AttemptArgs),
    /// Fail an attempt; another follows if the application has any left.
    Fail(AttemptArgs),
}

/// `heddle container …`
#[derive(Debug, Subcommand)]
pub(super) enum ContainerCommand {
    /// List the live containers of an attempt.
    List(AttemptArgs),
    /// All there is to know about a live container.
    Status(ContainerArgs),
    /// Signal a live container.
    Signal(SignalArgs),
}

/// Options of every command here.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `heddle application list`
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// States wanted: NEW, NEW_SAVING, SUBMITTED, ACCEPTED, RUNNING, FINISHED, FAILED, KILLED, or ALL.
    #[arg(long, value_delimiter = ',', value_parser = states, conflicts_with = "all", value_name = "STATE,…")]
    states: Vec<Vec<YarnApplicationState>>,
    /// Every state.
    #[arg(long)]
    all: bool,
    /// Only applications of these types.
    #[arg(long, value_delimiter = ',', value_name = "TYPE,…")]
    types: Vec<String>,
    /// Only applications with one of these tags.
    #[arg(long, value_delimiter = ',', value_name = "TAG,…")]
    tags: Vec<String>,
    /// Only applications of these users.
    #[arg(long, value_delimiter = ',', value_name = "USER,…")]
    users: Vec<String>,
    /// Only applications in these queues, by path or name.
    #[arg(long, value_delimiter = ',', value_name = "QUEUE,…")]
    queues: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// An application.
#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// The application.
    #[arg(value_name = "APPLICATION_ID")]
    id: ApplicationId,
    #[command(flatten)]
    common: Common,
}

/// `heddle application explain`
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The application.
    #[arg(value_name = "APPLICATION_ID")]
    id: ApplicationId,
    /// Most asks shown one by one; all are in the summary.
    #[arg(long, default_value_t = 20, value_parser = whole(0..=u32::MAX), value_name = "COUNT")]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

/// `heddle application submit`
#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// Name for people.
    #[arg(long, default_value = "N/A")]
    name: String,
    /// Queue, by path or name.
    #[arg(long, default_value = "default")]
    queue: String,
    /// Type, such as SPARK.
    #[arg(long = "type", default_value = "YARN", value_name = "TYPE")]
    application_type: String,
    /// Tags.
    #[arg(long, value_delimiter = ',', value_name = "TAG,…")]
    tags: Vec<String>,
    /// Priority; higher is more important [default: the queue's].
    #[arg(long, allow_negative_numbers = true, value_parser = whole(i32::MIN..=i32::MAX))]
    priority: Option<i32>,
    /// Memory of the ApplicationMaster, MiB.
    #[arg(long, default_value_t = 1_024, value_parser = whole(0..=u64::MAX), value_name = "MIB")]
    am_memory: u64,
    /// Virtual cores of the ApplicationMaster.
    #[arg(long, default_value_t = 1, value_parser = whole(0..=u32::MAX), value_name = "COUNT")]
    am_vcores: u32,
    /// Most attempts [default: as the ResourceManager is configured].
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = whole(0..=u32::MAX), value_name = "COUNT")]
    max_attempts: u32,
    /// Label of containers that name none.
    #[arg(long, value_name = "LABEL")]
    node_label: Option<String>,
    /// Containers that run survive a failed ApplicationMaster.
    #[arg(long)]
    keep_containers: bool,
    /// The ApplicationMaster runs outside the cluster; its handle and token are in the status once it is ACCEPTED.
    #[arg(long, conflicts_with = "command")]
    unmanaged: bool,
    /// The ApplicationMaster's command line.
    #[arg(last = true, required_unless_present = "unmanaged", value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// `heddle application kill`
#[derive(Debug, Args)]
pub(super) struct KillArgs {
    /// The applications.
    #[arg(required = true, value_name = "APPLICATION_ID")]
    ids: Vec<ApplicationId>,
    /// Why, for whoever looks at them later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// `heddle application move`
#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    /// The application.
    #[arg(value_name = "APPLICATION_ID")]
    id: ApplicationId,
    /// Where to, by path or name.
    #[arg(long)]
    queue: String,
    #[command(flatten)]
    common: Common,
}

/// `heddle application priority`
#[derive(Debug, Args)]
pub(super) struct PriorityArgs {
    /// The application.
    #[arg(value_name = "APPLICATION_ID")]
    id: ApplicationId,
    /// Higher is more important.
    #[arg(allow_negative_numbers = true, value_parser = whole(i32::MIN..=i32::MAX))]
    priority: i32,
    #[command(flatten)]
    common: Common,
}

/// `heddle application lifetime`
#[derive(Debug, Args)]
pub(super) struct LifetimeArgs {
    /// The application.
    #[arg(value_name = "APPLICATION_ID")]
    id: ApplicationId,
    /// Seconds from now.
    #[arg(value_parser = whole(1..=u64::MAX), value_name = "SECONDS")]
    seconds: u64,
    #[command(flatten)]
    common: Common,
}

/// An attempt.
#[derive(Debug, Args)]
pub(super) struct AttemptArgs {
    /// The attempt.
    #[arg(value_name = "ATTEMPT_ID")]
    id: ApplicationAttemptId,
    #[command(flatten)]
    common: Common,
}

/// A container.
#[derive(Debug, Args)]
pub(super) struct ContainerArgs {
    /// The container.
    #[arg(value_name = "CONTAINER_ID")]
    id: ContainerId,
    #[command(flatten)]
    common: Common,
}

/// `heddle container signal`
#[derive(Debug, Args)]
pub(super) struct SignalArgs {
    /// The container.
    #[arg(value_name = "CONTAINER_ID")]
    id: ContainerId,
    /// OUTPUT_THREAD_DUMP, GRACEFUL_SHUTDOWN or FORCEFUL_SHUTDOWN.
    #[arg(default_value = "OUTPUT_THREAD_DUMP", value_parser = signal)]
    command: SignalContainerCommand,
    #[command(flatten)]
    common: Common,
}

/// One state, or `ALL`.
fn states(text: &str) -> Result<Vec<YarnApplicationState>, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(report::STATES.to_vec());
    }
    let found =
        report::STATES.into_iter().find(|state| report::state(*state).eq_ignore_ascii_case(text.trim()));
    found.map(|state| vec![state]).ok_or_else(|| {
        let names: Vec<_> = report::STATES.iter().map(|state| report::state(*state)).collect();
        format!("accepted are {}, ALL", names.join(", "))
    })
}

fn signal(text: &str) -> Result<SignalContainerCommand, String> {
    match text.to_ascii_uppercase().as_str() {
        "OUTPUT_THREAD_DUMP" => Ok(SignalContainerCommand::OutputThreadDump),
        "GRACEFUL_SHUTDOWN" => Ok(SignalContainerCommand::GracefulShutdown),
        "FORCEFUL_SHUTDOWN" => Ok(SignalContainerCommand::ForcefulShutdown),
        _ => Err("accepted are OUTPUT_THREAD_DUMP, GRACEFUL_SHUTDOWN, FORCEFUL_SHUTDOWN".to_owned()),
    }
}

macro_rules! common {
    ($command:ident { $($verb:ident),* }) => {
        impl $command {
            fn common(&self) -> &Common {
                match self { $(Self::$verb(args) => &args.common,)* }
            }

            pub(super) fn format(&self) -> Format {
                self.common().output
            }
        }
    };
}
common!(ApplicationCommand { List, Status, Explain, Submit, Kill, Move, Priority, Lifetime });
common!(AttemptCommand { List, Status, Fail });
common!(ContainerCommand { List, Status, Signal });

/// Connects, runs one command, says goodbye.
pub(super) fn with_client(
    common: &Common,
    run: impl AsyncFnOnce(&mut ApplicationClient) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let mut client = common.connection.connect_application().await?;
        let result = run(&mut client).await;
        client.close().await;
        result
    })
}

/// Runs an application command.
pub(super) fn run(command: ApplicationCommand) -> Result<(), CliError> {
    with_client(command.common(), async |client| match &command {
        ApplicationCommand::List(args) => list(client, args).await,
        ApplicationCommand::Status(args) => status(client, args).await,
        ApplicationCommand::Explain(args) => explain(client, args).await,
        ApplicationCommand::Submit(args) => submit(client, args).await,
        ApplicationCommand::Kill(args) => kill(client, args).await,
        ApplicationCommand::Move(args) => {
            client.move_to_queue(args.id, &args.queue).await?;
            done(&args.common, &args.id.to_string(), &format!("moved to {}", args.queue))
        }
        ApplicationCommand::Priority(args) => {
            let priority = client.update_priority(args.id, args.priority).await?;
            let text = if priority == args.priority {
                format!("priority {priority}")
            } else {
                format!("priority {priority}: {} is more than it may have", args.priority)
            };
            done(&args.common, &args.id.to_string(), &text)
        }
        ApplicationCommand::Lifetime(args) => {
            let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
            let wanted = now_ms.saturating_add(args.seconds.saturating_mul(1_000));
            let expires = client.update_lifetime(args.id, wanted).await?;
            done(&args.common, &args.id.to_string(), &format!("ends at {}", report::time(expires)))
        }
    })
}

/// Runs an attempt command.
pub(super) fn run_attempt(command: AttemptCommand) -> Result<(), CliError> {
    with_client(command.common(), async |client| match &command {
        AttemptCommand::List(args) => {
            let attempts = client.attempts(args.id).await?;
            if args.common.output == Format::Json {
                return output::print_json(&attempts.iter().map(report::attempt_json).collect::<Vec<_>>());
            }
            output::print(&report::attempts(&attempts))
        }
        AttemptCommand::Status(args) => {
            let attempt = client.attempt(args.id).await?;
            if args.common.output == Format::Json {
                return output::print_json(&report::attempt_json(&attempt));
            }
            output::print(&report::attempt(&attempt))
        }
        AttemptCommand::Fail(args) => {
            client.fail_attempt(args.id).await?;
            done(&args.common, &args.id.to_string(), "is being failed")
        }
    })
}

/// Runs a container command.
pub(super) fn run_container(command: ContainerCommand) -> Result<(), CliError> {
    with_client(command.common(), async |client| match &command {
        ContainerCommand::List(args) => {
            let containers = client.containers(args.id).await?;
            if args.common.output == Format::Json {
                return output::print_json(
                    &containers.iter().map(report::container_json).collect::<Vec<_>>(),
                );
            }
            output::print(&report::containers(&containers))
        }
        ContainerCommand::Status(args) => {
            let container = client.container(args.id).await?;
            if args.common.output == Format::Json {
                return output::print_json(&report::container_json(&container));
            }
            output::print(&report::container(&container))
        }
        ContainerCommand::Signal(args) => {
            client.signal(args.id, args.command).await?;
            done(&args.common, &args.id.to_string(), "will be signalled with its node's next heartbeat")
        }
    })
}

/// Says that it was done.
fn done(common: &Common, id: &str, text: &str) -> Result<(), CliError> {
    if common.output == Format::Json {
        return output::print_json(&json!({ "id": id, "done": text }));
    }
    output::print(&output::plain(&format!("{id} {text}")))
}

async fn list(client: &mut ApplicationClient, args: &ListArgs) -> Result<(), CliError> {
    let states = match (args.all, args.states.concat()) {
        (true, _) => report::STATES.to_vec(),
        (false, states) if states.is_empty() => vec![
            YarnApplicationState::Submitted,
            YarnApplicationState::Accepted,
            YarnApplicationState::Running,
        ],
        (false, states) => states,
    };
    let filter = GetApplicationsRequest {
        scope: ApplicationsRequestScope::All,
        application_types: args.types.clone(),
        application_states: states.clone(),
        users: args.users.clone(),
        queues: args.queues.clone(),
        application_tags: args.tags.clone(),
        ..GetApplicationsRequest::default()
    };
    let applications = client.applications(&filter).await?;
    if args.common.output == Format::Json {
        return output::print_json(&applications.iter().map(report::json).collect::<Vec<_>>());
    }
    output::print(&report::list(&applications, &args.types, &states, &args.tags))
}

async fn status(client: &mut ApplicationClient, args: &OneArgs) -> Result<(), CliError> {
    let application = client.report(args.id).await?;
    if args.common.output == Format::Json {
        return output::print_json(&report::json(&application));
    }
    output::print(&report::status(&application))
}

async fn explain(client: &mut ApplicationClient, args: &ExplainArgs) -> Result<(), CliError> {
    let explanation = client.explain(args.id, args.limit).await?;
    if args.common.output == Format::Json {
        return output::print_json(&report::explanation_json(&explanation));
    }
    output::print(&report::explanation(&explanation))
}

async fn submit(client: &mut ApplicationClient, args: &SubmitArgs) -> Result<(), CliError> {
    let application_id = client.new_application().await?.application_id;
    let context = ApplicationSubmissionContext {
        application_id,
        application_name: args.name.clone(),
        application_type: args.application_type.clone(),
        queue: args.queue.clone(),
        priority: args.priority,
        am_container_spec: ContainerLaunchContext {
            commands: if args.command.is_empty() { Vec::new() } else { vec![args.command.join(" ")] },
            ..ContainerLaunchContext::default()
        },
        is_unmanaged_am: args.unmanaged,
        max_app_attempts: args.max_attempts,
        resource: (!args.unmanaged).then(|| Resource::new(args.am_memory, args.am_vcores)),
        keep_containers_across_application_attempts: args.keep_containers,
        application_tags: args.tags.clone(),
        node_label_expression: args.node_label.clone(),
        cancel_tokens_when_complete: true,
        am_container_resource_requests: Vec::new(),
        attempt_failures_validity_interval_ms: None,
        application_timeouts: Vec::new(),
        application_scheduling_properties: Vec::new(),
        log_aggregation_context: None,
    };
    client.submit(context).await?;
    // The answer comes before the record is stored; ACCEPTED comes after.
    let report = loop {
        let report = client.report(application_id).await?;
        match report.state {
            YarnApplicationState::New | YarnApplicationState::NewSaving | YarnApplicationState::Submitted => {
                tokio::time::sleep(POLL_EVERY).await;
            }
            YarnApplicationState::Failed | YarnApplicationState::Killed => {
                let text =
                    format!("{application_id} is {}: {}", report::state(report.state), report.diagnostics);
                return Err(CliError::new(Exit::Refused, text));
            }
            _ => break report,
        }
    };
    if args.common.output == Format::Json {
        return output::print_json(&report::json(&report));
    }
    output::print(&format!("{application_id} {}", report::state(report.state)))
}

async fn kill(client: &mut ApplicationClient, args: &KillArgs) -> Result<(), CliError> {
    for id in &args.ids {
        while !client.kill(*id, args.reason.clone()).await? {
            tokio::time::sleep(POLL_EVERY).await;
        }
        done(&args.common, &id.to_string(), "has ended")?;
    }
    Ok(())
}
