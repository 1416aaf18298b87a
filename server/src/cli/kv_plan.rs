//! `verbatim kv-plan`: measures which layers bear quantized keys and values, and writes the
//! `kv_config.json` that follows.

mod calibration;
mod html;

use std::{
    fmt::Write,
    fs,
    io::{self, IsTerminal},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use verbatim_engine::{
    kv::plan::{KvPlan, PlanOptions, PlanProgress, plan},
    text::Tokenizer,
};

use super::{
    args::KvPlanArgs,
    kv::CONFIG_FILE,
    output::{note, print, temporary_beside, write_whole},
};

/// What was measured, as mlx-optiq names it.
const SENSITIVITY_FILE: &str = "kv_sensitivity.json";
/// The same for readers.
const REPORT_FILE: &str = "kv_sensitivity.html";

pub(super) fn run(args: &KvPlanArgs) -> Result<()> {
    let options = PlanOptions {
        candidate_bits: args.candidate_bits.clone(),
        target_bits: args.target_bits,
        group_size: args.group_size,
    };
    options.formats()?;
    let sequences = calibration::sequences(args, &Tokenizer::load(&args.model)?)?;
    // A folder that cannot be written is told before anything is measured.
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let config = args.out.join(CONFIG_FILE);
    drop(temporary_beside(&config)?);
    let mut bar = Bar::new(args.quiet);
    let plan = plan(&args.model, &sequences, &options, &mut |progress| bar.show(progress));
    bar.end(plan.is_ok());
    let plan = plan?;
    let report = html::page(&html::Facts {
        model: &name(&args.model),
        plan: &plan,
        target_bits: args.target_bits,
        sequences: sequences.len(),
        tokens: sequences.iter().map(Vec::len).sum(),
    });
    write_whole(&args.out.join(SENSITIVITY_FILE), &plan.sensitivity_json())?;
    write_whole(&args.out.join(REPORT_FILE), &report)?;
    write_whole(&config, &plan.config_json())?;
    print(&summary(args, &plan))?;
    Ok(())
}

/// The model's folder, by its own name.
fn name(model: &Path) -> String {
    let full = model.canonicalize().unwrap_or_else(|_| model.to_owned());
    full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned()
}

fn summary(args: &KvPlanArgs, plan: &KvPlan) -> String {
    let quantizable = plan.sensitivities.len();
    let mut text = format!("{quantizable}/{} layers have keys and values\n", plan.layers);
    for (layer, bits) in plan.sensitivities.iter().zip(&plan.bits) {
        let divergences: Vec<String> =
            layer.divergences.iter().map(|(bits, kl)| format!("{bits} bits {kl:.2e}")).collect();
        let (layer, divergences) = (layer.layer, divergences.join(", "));
        let _ = writeln!(text, "  layer {layer:>3}: KL {divergences} → {bits} bits");
    }
    let average = plan.average_bits();
    let short = if average < args.target_bits {
        "; more would not bring the predictions closer"
    } else {
        ""
    };
    let _ = writeln!(text, "{average:.2} bits on average, {} asked for{short}", args.target_bits);
    let _ = writeln!(
        text,
        "wrote {CONFIG_FILE}, {SENSITIVITY_FILE} and {REPORT_FILE} to {}",
        args.out.display()
    );
    text
}

/// Progress on standard error: on a terminal, one line that is written over.
struct Bar {
    quiet: bool,
    drawn: bool,
    started: Instant,
    shown: Option<Instant>,
}

impl Bar {
    /// Cells of the bar.
    const WIDTH: usize = 30;
    /// Time between two looks.
    const PAUSE: Duration = Duration::from_millis(200);

    fn new(quiet: bool) -> Self {
        let drawn = !quiet && io::stderr().is_terminal();
        Self { quiet, drawn, started: Instant::now(), shown: None }
    }

    fn show(&mut self, PlanProgress { done, total }: PlanProgress) {
        let recent = self.shown.is_some_and(|shown| shown.elapsed() < Self::PAUSE);
        if !self.drawn || (recent && done < total) {
            return;
        }
        self.shown = Some(Instant::now());
        let cells = done * Self::WIDTH / total.max(1);
        let left = if done > 0 {
            let seconds = self.started.elapsed().as_secs_f64() / done as f64;
            format!(", {:.0} s left", seconds * (total - done) as f64)
        } else {
            String::new()
        };
        note(&format!(
            "\r  measuring {}{} {done}/{total}{left}\u{1b}[K",
            "█".repeat(cells),
            "░".repeat(Self::WIDTH - cells)
        ));
    }

    fn end(&self, well: bool) {
        if self.drawn {
            note("\r\u{1b}[K");
        }
        if well && !self.quiet {
            note(&format!("measured in {:.1} s\n", self.started.elapsed().as_secs_f64()));
        }
    }
}
