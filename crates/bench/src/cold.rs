//! Tokens that nobody has seen before: what a server that has to verify every one answers, against verifying alone, on the
//! same cores, with the same library, and the same tokens.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context;
use identity::{Algorithm, VerificationKey};

use crate::child::{self, Server};
use crate::generator::Span;
use crate::report::{Figures, Row};
use crate::scenario::{Plan, Scenario, measure};
use crate::traffic::Tokens;
use crate::world::{World, now};

/// How often each token is verified alone in a round, so that its time can be read off the machine's coarse CPU clock.
const PASSES: usize = 4;
/// Longer than any round takes: a round ends when its tokens are used up.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Measures the scenario.
///
/// # Errors
/// As [`measure`], and when a token is not made or not valid.
pub(crate) fn run(scenario: &Scenario, world: &World, presenced: &Server, plan: Plan) -> anyhow::Result<Row> {
    let key = world.verification_key()?;
    let mut row = Row::new(scenario, "verifying");
    for round in 0..plan.rounds {
        // The first token is everybody else's.
        let first = 1 + round * plan.cold_tokens;
        let tokens = mint(world, first..first + plan.cold_tokens)?;
        row.reference.push(verify(&key, &tokens)?);
        // Those in flight when the round ends have taken theirs.
        let requests_max = (tokens.len() as u64).saturating_sub(2 * scenario.connections);
        let tokens = Tokens::each_once(tokens);
        let span = Span { requests_max, ..Span::of(ROUND_MAX) };
        let clients = scenario.clients(world, &tokens).collect();
        row.presenced.push(measure(presenced, scenario.transport, clients, span)?.0);
    }
    Ok(row)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Makes tokens, on all cores.
fn mint(world: &World, numbers: Range<usize>) -> anyhow::Result<Vec<String>> {
    let at = now();
    let each = numbers.len().div_ceil(cores());
    std::thread::scope(|scope| {
        let parts = numbers.clone().step_by(each).map(|first| {
            let part = first..(first + each).min(numbers.end);
            scope.spawn(move || world.tokens(part, at))
        });
        let parts: Vec<_> = parts.collect();
        let mut all = Vec::with_capacity(numbers.len());
        for part in parts {
            all.extend(part.join().ok().context("a thread that made tokens ended early")??);
        }
        Ok(all)
    })
}

/// Verifies all of them on all cores.
#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
fn verify(key: &VerificationKey, tokens: &[String]) -> anyhow::Result<Figures> {
    let (cpu, began) = (child::cpu("self")?, Instant::now());
    let are_valid = std::thread::scope(|scope| {
        let parts = tokens.chunks(tokens.len().div_ceil(cores()));
        let parts = parts.map(|part| {
            scope.spawn(move || (0..PASSES).all(|_| part.iter().all(|token| is_valid(key, token))))
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().all(|part| part.join().unwrap_or(false))
    });
    anyhow::ensure!(are_valid, "a token is not valid");
    let (seconds, verified) = (began.elapsed().as_secs_f64(), (tokens.len() * PASSES) as f64);
    Ok(Figures {
        requests_per_sec: verified / seconds,
        cpu_micros: (child::cpu("self")? - cpu).as_secs_f64() * 1e6 / verified,
        p50_micros: 0,
        p99_micros: 0,
        generator_cores: 0.0,
    })
}

fn is_valid(key: &VerificationKey, token: &str) -> bool {
    token
        .rsplit_once('.')
        .is_some_and(|(message, signature)| key.verifies(message.as_bytes(), signature, Algorithm::Rs256))
}
