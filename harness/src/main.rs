//! Command line of the harness.

use std::{
    io::{IsTerminal as _, Write as _},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use verbatim_harness::{
    fit::{self, FitCases},
    l3::{self, Gauge},
    readme,
    replay::{RunOptions, Workers, run, serve},
    report::{CaseReport, Outcome},
    selftest,
};

/// Holds the engine against golden traces, bit for bit.
#[derive(Debug, Parser)]
#[command(name = "harness", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay every golden and write parity.json, junit.xml and parity.html.
    ///
    /// Exits with 0 when every required cell is green, 1 when one is not, 2 when the run could not
    /// be made.
    Parity(ParityArgs),
    /// Hold the predicted peak memory of requests against what MLX measures, and write fit.json.
    ///
    /// Exits with 0 when every prediction is within 10 %, 1 when one is not, 2 when the run could
    /// not be made.
    FitCheck(FitArgs),
}

#[derive(Debug, Args)]
struct FitArgs {
    /// The checkout; its harness/cases/fit.json is used.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Only models whose name contains this text.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Folder for the report [default: ROOT/reports].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Put the table of this run into docs/memory.md.
    #[arg(long, conflicts_with = "filter")]
    readme: bool,
}

#[derive(Debug, Args)]
struct ParityArgs {
    /// The checkout; its harness/cases, golden and .cache are used.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Only cases whose id contains this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Only cases of this family.
    #[arg(long, value_name = "NAME")]
    family: Option<String>,
    /// Folder of goldens [default: ROOT/golden].
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    /// Folder for the reports [default: ROOT/reports].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Processes that run cases side by side [default: one a core].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// One of these processes.
    #[arg(long, hide = true)]
    worker: bool,
    /// Instead, show that broken goldens and a broken engine are noticed.
    #[arg(long)]
    self_test: bool,
    /// Instead, put the table of what cases and goldens define into README.md; with --l3, the table
    /// of that run.
    #[arg(long, conflicts_with = "self_test")]
    readme: bool,
    /// Instead, measure how far quantized keys and values are from plain ones, write l3.json and
    /// l3.html, and hold the figures to the limits of harness/cases/l3.json.
    #[arg(long, conflicts_with_all = ["self_test", "filter", "family", "golden"])]
    l3: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Parity(args) => parity(&args),
        Command::FitCheck(args) => fit_check(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "harness: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn parity(args: &ParityArgs) -> Result<bool> {
    if args.l3 {
        return gauge(args);
    }
    let mut options = RunOptions::new(&args.root);
    options.filter.clone_from(&args.filter);
    options.family.clone_from(&args.family);
    if let Some(golden) = &args.golden {
        options.golden.clone_from(golden);
    }
    if args.worker {
        serve(&options, std::io::stdin().lock(), std::io::stdout().lock())?;
        return Ok(true);
    }
    if args.self_test {
        return self_test(&options);
    }
    if args.readme {
        let changed = readme::update(&args.root).context("updating the README's table")?;
        let word = if changed { "README.md updated" } else { "README.md is up to date" };
        writeln!(std::io::stdout(), "{word}")?;
        return Ok(true);
    }
    let out = args.reports();
    options.workers = args.workers()?;
    let report = run(&options, show_progress)?;
    clear_progress();
    report.write(&out).context("writing the reports")?;
    let mut stdout = std::io::stdout();
    write!(stdout, "{}", report.summary())?;
    writeln!(stdout, "report: {}", out.join("parity.html").display())?;
    Ok(report.is_green())
}

/// Prints each prediction beside its measurement as it comes.
fn fit_check(args: &FitArgs) -> Result<bool> {
    let cases = FitCases::load(&args.root.join("harness/cases"))?;
    let report = fit::run(&cases, &args.filter, |row| {
        let _ = writeln!(std::io::stderr(), "{}", row.line());
    })?;
    let out = args.out.clone().unwrap_or_else(|| args.root.join("reports"));
    report.write(&out).context("writing the report")?;
    if args.readme {
        report.update_guide(&args.root).context("updating the guide's table")?;
    }
    let mut stdout = std::io::stdout();
    write!(stdout, "{}", report.table())?;
    writeln!(stdout, "report: {}", out.join("fit.json").display())?;
    Ok(report.is_green())
}

impl ParityArgs {
    /// The processes beside this one; none where one is enough.
    fn workers(&self) -> Result<Option<Workers>> {
        let count = self.jobs.or_else(|| std::thread::available_parallelism().ok());
        let Some(count) = count.filter(|count| count.get() > 1) else { return Ok(None) };
        let program = std::env::current_exe().context("this program's path")?;
        let arguments = std::env::args().skip(1).chain(["--worker".to_owned()]).collect();
        Ok(Some(Workers { program, arguments, count }))
    }

    fn reports(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| self.root.join("reports"))
    }
}

/// Measures what need not be equal; prints each line as it comes.
fn gauge(args: &ParityArgs) -> Result<bool> {
    let cases = args.root.join("harness/cases");
    let gauge = Gauge::load(&cases)?;
    let report = l3::run(&args.root, &cases, &gauge, |row| {
        let _ = writeln!(std::io::stderr(), "{row}");
    })?;
    report.write(&args.reports()).context("writing the reports")?;
    if args.readme {
        l3::update_readme(&args.root, &report).context("updating the README's table")?;
    }
    let mut stdout = std::io::stdout();
    write!(stdout, "{}", report.verdict())?;
    writeln!(stdout, "report: {}", args.reports().join("l3.html").display())?;
    Ok(report.is_green())
}

/// Prints each deliberate mistake and where it showed.
fn self_test(options: &RunOptions) -> Result<bool> {
    let trials = selftest::self_test(options, |trial| {
        let mark = if trial.caught { "✓" } else { "✗" };
        let found = trial.found.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let _ =
            writeln!(std::io::stdout(), "{mark} {}: {} noticed {found}", trial.mistake, trial.case);
        if !trial.caught {
            let _ = writeln!(std::io::stdout(), "    expected at {}", trial.expected);
        }
    })?;
    let caught = trials.iter().filter(|t| t.caught).count();
    writeln!(
        std::io::stdout(),
        "{caught} of {} mistakes caught where they should be",
        trials.len()
    )?;
    Ok(caught == trials.len())
}

/// One line that is rewritten on a terminal; a line per failure elsewhere.
fn show_progress(done: usize, total: usize, case: &CaseReport) {
    let mut stderr = std::io::stderr();
    let failed = matches!(case.outcome, Outcome::Differs { .. } | Outcome::Error { .. });
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{done}/{total} {}", case.id);
        if failed {
            let _ = writeln!(stderr, " FAILED");
        }
        let _ = stderr.flush();
    } else if failed || done.is_multiple_of(25) || done == total {
        let word = if failed { "FAILED" } else { "done" };
        let _ = writeln!(stderr, "{done}/{total} {} {word}", case.id);
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}
