//! Runs a transcript: reads commands, drives a cluster, writes down what happens.
//!
//! What it does not do: judge. People read the result once; then it may not change unseen.

mod cluster;
mod words;

use cluster::{Cluster, Outcome};
use raft::{Change, ChangeKind, Config, Input, JointChange, Payload, PeerId, ReadId};

/// The transcript with every output made anew.
pub(crate) fn run(text: &str) -> Outcome<String> {
    let mut cluster = Cluster::default();
    let blocks = text
        .trim_end()
        .split("\n\n")
        .map(|block| run_block(&mut cluster, block));
    let blocks: Vec<String> = blocks.collect::<Outcome<_>>()?;
    Ok(blocks.join("\n\n") + "\n")
}

/// A block is commands, `---`, output; or only comments.
fn run_block(cluster: &mut Cluster, block: &str) -> Outcome<String> {
    let commands: Vec<&str> = block.lines().take_while(|line| *line != "---").collect();
    if commands.iter().all(|line| line.starts_with('#')) {
        return Ok(commands.join("\n"));
    }
    for line in commands.iter().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        command(cluster, &words).map_err(|why| format!("{line}: {why}"))?;
    }
    let mut output = cluster.take_output();
    if output.is_empty() {
        output.push(String::from("nothing happens"));
    }
    Ok(format!(
        "{}\n---\n{}",
        commands.join("\n"),
        output.join("\n")
    ))
}

fn number(word: &str) -> Outcome<u64> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}

fn peer(word: &str) -> Outcome<PeerId> {
    number(word).map(PeerId)
}

fn command(cluster: &mut Cluster, words: &[&str]) -> Outcome {
    match words {
        ["cluster", options @ ..] => found(cluster, options),
        ["join", id] => cluster.join(peer(id)?),
        ["tick", id] => cluster.step(peer(id)?, Input::Tick),
        ["tick", id, times] => {
            let id = peer(id)?;
            (0..number(times)?).try_for_each(|_| cluster.step(id, Input::Tick))
        }
        ["elect", id] => cluster.elect(peer(id)?),
        ["campaign", id] => cluster.step(peer(id)?, Input::Campaign),
        ["propose", id, values @ ..] => {
            let command = |value: &&str| Payload::Command(value.as_bytes().to_vec().into());
            cluster.step(
                peer(id)?,
                Input::Propose(values.iter().map(command).collect()),
            )
        }
        ["change", id, kind, who] => {
            let change = Change {
                kind: change(kind, peer(who)?)?,
                context: bytes::Bytes::new(),
            };
            cluster.step(peer(id)?, Input::Propose(vec![Payload::Change(change)]))
        }
        ["joint", id, steps @ ..] => {
            let steps = steps.chunks(2).map(|step| match step {
                [kind, who] => change(kind, peer(who)?),
                _ => Err(String::from("a step is a kind and a peer")),
            });
            let change = JointChange {
                steps: steps.collect::<Outcome<_>>()?,
                context: bytes::Bytes::new(),
            };
            cluster.step(peer(id)?, Input::Propose(vec![Payload::EnterJoint(change)]))
        }
        ["read", id, read] => cluster.step(peer(id)?, Input::Read(ReadId(number(read)?))),
        ["transfer", id, to] => cluster.step(peer(id)?, Input::TransferLeader(peer(to)?)),
        ["unreachable", id, who] => cluster.step(peer(id)?, Input::PeerUnreachable(peer(who)?)),
        _ => world_command(cluster, words),
    }
}

fn world_command(cluster: &mut Cluster, words: &[&str]) -> Outcome {
    match words {
        ["deliver"] => cluster.deliver_all(),
        ["deliver", from, to] => cluster.deliver(peer(from)?, peer(to)?),
        ["drop"] => cluster.lose(|_| true),
        ["drop", from, to] => {
            let way = (peer(from)?, peer(to)?);
            cluster.lose(|message| (message.from, message.to) == way)
        }
        ["repeat", from, to] => cluster.repeat(peer(from)?, peer(to)?),
        ["cut", one, other] => cluster.cut(peer(one)?, peer(other)?),
        ["cut", one] => cluster.cut_off(peer(one)?),
        ["heal"] => cluster.heal(),
        ["slow", id] => cluster.slow(peer(id)?),
        ["done", id] => cluster.done(peer(id)?),
        ["checkpoint", id] => cluster.checkpoint(peer(id)?),
        ["crash", id] => cluster.crash(peer(id)?),
        ["damage", id, after] => cluster.damage(peer(id)?, number(after)?),
        ["start", id] => cluster.start(peer(id)?),
        ["status"] => cluster.all_status(),
        ["status", id] => cluster.status(peer(id)?),
        _ => Err(String::from("no such command")),
    }
}

fn change(kind: &str, who: PeerId) -> Outcome<ChangeKind> {
    match kind {
        "add-voter" => Ok(ChangeKind::AddVoter(who)),
        "add-learner" => Ok(ChangeKind::AddLearner(who)),
        "remove" => Ok(ChangeKind::Remove(who)),
        _ => Err(format!("{kind} is not a change")),
    }
}

fn found(cluster: &mut Cluster, options: &[&str]) -> Outcome {
    let mut config = Config {
        catchup_entries: 0,
        ..Config::new(PeerId(1))
    };
    let (mut voters, mut learners) = (0, 0);
    for option in options {
        let (key, value) = option.split_once('=').ok_or("an option is key=value")?;
        match key {
            "voters" => voters = number(value)?,
            "learners" => learners = number(value)?,
            "pre_vote" => config.pre_vote = value == "on",
            "check_quorum" => config.check_quorum = value == "on",
            "heartbeat_ticks" => config.heartbeat_ticks = number(value)? as u32,
            "max_append_bytes" => config.max_append_bytes = number(value)?,
            "max_inflight_messages" => config.max_inflight_messages = number(value)? as usize,
            "max_inflight_bytes" => config.max_inflight_bytes = number(value)?,
            "max_uncommitted_bytes" => config.max_uncommitted_bytes = number(value)?,
            "max_committed_bytes" => config.max_committed_bytes = number(value)?,
            "catchup_entries" => config.catchup_entries = number(value)?,
            _ => return Err(format!("no such option: {key}")),
        }
    }
    cluster.found(config, voters, learners)
}
