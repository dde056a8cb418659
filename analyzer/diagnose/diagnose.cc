#include "analyzer/diagnose/diagnose.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/causes.h"
#include "analyzer/diagnose/culprit.h"
#include "analyzer/diagnose/device_program.h"
#include "analyzer/diagnose/device_sites.h"
#include "analyzer/diagnose/gpu_use.h"
#include "analyzer/diagnose/leak_holder.h"
#include "analyzer/diagnose/peaks.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/replay/fidelity.h"
#include "analyzer/replay/replay.h"
#include "analyzer/timeline/hindsight.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

constexpr size_t kOwnersReported = 24;
constexpr size_t kDeviceOwnersReported = 12;

void FillCategories(const Facts& facts, report::Categories& categories) {
  const auto of = [&](Category category) { return facts.category[static_cast<int>(category)]; };
  categories.set_parameter(of(Category::kParameter));
  categories.set_gradient(of(Category::kGradient));
  categories.set_optimizer_state(of(Category::kOptimizerState));
  categories.set_activation(of(Category::kActivation));
  categories.set_input(of(Category::kInput));
  categories.set_temporary(of(Category::kTemporary));
  categories.set_workspace(of(Category::kWorkspace));
  categories.set_second_copy(of(Category::kSecondCopy));
  categories.set_kv_cache(of(Category::kKvCache));
  categories.set_kept(of(Category::kKept));
  categories.set_unknown(of(Category::kUnknown));
}

void FillPeak(const Facts& facts, report::Peak& peak) {
  const Timeline& t = *facts.timeline;
  const bool at_death = facts.oom && facts.peak_time == facts.oom->time;
  peak.set_bytes(facts.peak);
  if (!WithoutTorch(t)) peak.set_phase(PhaseName(at_death ? facts.oom->phase : PhaseAt(t, facts.peak_time)));
  peak.set_step(StepsEndedBy(t, facts.peak_time));
  peak.set_reserved(facts.peak_reserved);
  peak.set_time_ns(facts.peak_time);
}

// Boundaries are steps here: growth between micro-batches is a cause, not what these fields describe.
void FillLeak(const Facts& facts, const Leak& leak, report::Leak& out) {
  out.set_steps_to_oom(-1);
  if (!leak.found || !leak.boundaries_are_steps) return;
  const Timeline& t = *facts.timeline;
  const Tensor& example = t.tensors[leak.groups.front().example];
  const Frame site = SiteOf(t, example.stack);
  out.set_bytes_per_step(std::llround(leak.bytes_per_boundary));
  out.set_site(absl::StrCat(site.file, ":", site.line, " in ", site.function));
  out.set_since_step(leak.since + 1);
  out.mutable_shape()->Assign(t.layouts[example.layout].shape.begin(), t.layouts[example.layout].shape.end());
  out.set_dtype(t.layouts[example.layout].dtype);
  out.set_tensors_per_step(std::llround(leak.tensors_per_boundary));
  if (facts.oom) {
    out.set_steps_to_oom(0);
    return;
  }
  const int64_t usable = facts.available();
  out.set_steps_to_oom(static_cast<int64_t>(
      std::max<double>(1, static_cast<double>(usable - facts.peak_reserved) / std::max(1.0, leak.bytes_per_boundary))));
}

void FillOutOfMemory(const Facts& facts, report::OutOfMemory& out) {
  out.set_caught_before(facts.survived_refusals);
  if (!facts.oom) return;
  const Timeline& t = *facts.timeline;
  const OutOfMemory& oom = *facts.oom;
  out.set_happened(true);
  out.set_requested(facts.requested);
  out.set_tensor_bytes(facts.refused);
  out.mutable_shape()->Assign(t.layouts[oom.layout].shape.begin(), t.layouts[oom.layout].shape.end());
  out.set_dtype(t.layouts[oom.layout].dtype);
  out.set_message(oom.text);
  out.set_limit(oom.limit);
  if (!WithoutTorch(t)) out.set_phase(PhaseName(oom.phase));
  if (oom.thread != 0) out.set_thread(ThreadName(t, oom.thread));
  out.set_step(oom.step);
  out.set_micro_batch(oom.micro_batch);
  for (const NamedRange& range : t.ranges) {
    if (range.begin <= oom.time && oom.time < range.end) out.add_ranges(range.name);
  }
  if (oom.stack >= t.stacks.size()) return;
  for (const uint32_t index : t.stacks[oom.stack].frames) {
    if (index >= t.frames.size()) continue;
    report::StackFrame* frame = out.add_stack();
    frame->set_file(t.frames[index].file);
    frame->set_line(t.frames[index].line);
    frame->set_function(t.frames[index].function);
  }
}

std::string EndOf(const Timeline& t) {
  const std::string exception = EndedBy(t);
  const std::string by = exception.empty() ? "" : absl::StrCat(" by ", exception);
  if (t.exited && t.exit_status != 0 && !by.empty()) return absl::StrCat("exit ", t.exit_status, by);
  if (t.exited)
    return absl::StrCat("exit ", t.exit_status, t.without_handlers ? " by _exit, without exit handlers" : "");
  if (t.life != ProcessLife::kRunning && !by.empty()) return absl::StrCat("ended", by);
  if (!t.damage.empty() && t.life != ProcessLife::kRunning) return "not in what is left of the trace";
  switch (t.life) {
    case ProcessLife::kRunning:
      return "still running";
    case ProcessLife::kGone:
      return "not in the trace: killed by a signal, ended past the C library, replaced by another program (exec), or "
             "copied while it ran";
    case ProcessLife::kUnknown:
      break;
  }
  return "killed or still running";
}

void FillTrace(const Timeline& t, report::Trace& trace) {
  trace.set_path(t.path);
  trace.set_pid(t.process.pid);
  for (const std::string& argument : t.process.arguments) trace.add_command(argument);
  trace.set_working_directory(t.process.working_directory);
  for (const std::string& variable : t.process.environment) trace.add_environment(variable);
  trace.set_events(t.events);
  trace.set_tensors_left_out(t.left_out);
  trace.set_dropped(t.dropped);
  trace.set_recycled_chunks(t.recycled_chunks);
  for (const std::string& damage : t.damage) trace.add_damage(damage);
  trace.set_simulated(t.process.simulated);
  trace.set_recorder_state(t.recorder_state);
  trace.set_torch_version(t.process.torch_version);
  trace.set_seconds(static_cast<double>(t.end) / 1e9);
  trace.set_ended(EndOf(t));
}

// Why the trace has no Python stacks at all, as the recorder noted it; "": it has some.
std::string WhyNoStacks(const Timeline& t) {
  constexpr absl::string_view kNote = "no Python stacks: ";
  for (const std::string& note : t.notes) {
    if (absl::StartsWith(note, kNote)) return note.substr(kNote.size());
  }
  return "";
}

// What the user's own settings keep from the report.
std::vector<std::string> SwitchedOff(const Timeline& t) {
  std::vector<std::string> unknown;
  if (const std::string why = WhyNoStacks(t); !why.empty())
    unknown.push_back(absl::StrCat("The line that asked, and every other line of Python: ", why, "."));
  for (const Hook& hook : t.hooks) {
    if (hook.name == "dlsym" && hook.state == "disabled")
      unknown.push_back(
          "What CUDA gave to those that find it by dlsym (statically linked runtimes, ctypes, CuPy, JAX): "
          "OOMTRACE_DLSYM switches that hook off.");
  }
  return unknown;
}

std::vector<std::string> Unknowns(const Facts& facts) {
  std::vector<std::string> unknown = SwitchedOff(*facts.timeline);
  for (const UnknownRoute& route : facts.timeline->unknown_routes) {
    if (!route.may_allocate) continue;
    unknown.push_back(absl::StrCat(
        "What ", route.library.empty() ? "the program" : route.library.substr(route.library.rfind('/') + 1),
        " took through ", route.what, ": it is not seen call by call, and stands under the CUDA context."));
  }
  unknown.insert(unknown.end(), facts.notes.begin(), facts.notes.end());
  if (facts.timeline->lost_steps > 0) {
    unknown.push_back(absl::StrCat("The phases of ", Count(facts.timeline->lost_steps, "early step"),
                                   ": the disk budget (OOMTRACE_BUDGET) had no room for them, so a peak of that time "
                                   "may be named after a neighbouring phase."));
  }
  if (MostConfidence(*facts.timeline) < 1) {
    unknown.push_back(absl::StrCat(
        "What was in ", Count(facts.timeline->dropped, "event"), " and ",
        Count(facts.timeline->recycled_chunks, "chunk"),
        " of 64 KiB that the trace lost, usually to a full disk: what they allocated may be missing above, and what "
        "they freed may be listed as held. Record again with OOMTRACE_DIR in a folder with more room."));
  }
  const int64_t untyped = facts.category[static_cast<int>(Category::kUnknown)];
  if (untyped * 50 > facts.device.tensors() && untyped > 0) {
    unknown.push_back(absl::StrCat(Bytes(untyped), " of tensors could not be told apart (no name, no known phase)."));
  }
  if (!facts.processes_listed) {
    unknown.push_back(
        "Which other processes hold memory: the driver gave no list, so theirs would stand under the CUDA context.");
  }
  if (WithoutTorch(*facts.timeline)) return unknown;
  if (facts.oom && facts.oom->layout == 0 && !facts.oom->buffer.empty()) {
    unknown.push_back(absl::StrCat("A shape of what did not fit: it was no tensor but ",
                                   absl::StrContains("aeiou", facts.oom->buffer.substr(0, 1)) ? "an " : "a ",
                                   facts.oom->buffer, "."));
  } else if (facts.oom && facts.oom->layout == 0) {
    unknown.push_back(
        "The shape of the tensor that did not fit: it was asked for without one (a workspace or a library's buffer).");
  }
  if (facts.oom && RefusalSite(facts).file.empty() && WhyNoStacks(*facts.timeline).empty()) {
    const int64_t missed = facts.timeline->missed_stacks;
    unknown.push_back(missed > 0
                          ? absl::StrCat("The line that asked: ", Count(missed, "Python stack"),
                                         " could not be read, or found no room in the trace.")
                          : std::string("The line that asked: the thread had no Python stack to read (the autograd "
                                        "engine's own thread, for instance)."));
  }
  if (facts.oom && facts.steps == 0) {
    unknown.push_back(
        facts.timeline->first_training_forward == kNever
            ? "What the run would have needed from there on: more of the model, or of the data, may have been to come, "
              "and predicted peaks know nothing of it. `oomtrace dryrun` with the change applied tells for certain."
            : "What a whole iteration needs: none had completed, so predicted peaks are estimates, most of them too "
              "high. `oomtrace dryrun` with the change applied tells for certain.");
  }
  return unknown;
}

std::string Summary(const Diagnosis& d) {
  const Facts& facts = d.facts;
  if (!facts.oom) {
    if (SaysNothing(*facts.timeline)) {
      return absl::StrCat("Not enough was recorded to say how it went: ", Count(facts.timeline->events, "event"),
                          " in the trace, ", facts.timeline->dropped, " dropped.");
    }
    const bool cut = (!facts.timeline->damage.empty() && !facts.timeline->exited) || EndMayBeLost(*facts.timeline);
    return absl::StrCat(cut ? "How it ended is not in what is left of the trace; until there: peak " : "Healthy: peak ",
                        Bytes(facts.peak), " in tensors, ", Bytes(facts.peak_reserved), " reserved, of ",
                        Bytes(facts.device.total()),
                        d.leak.found && d.leak.boundaries_are_steps ? "; but memory grows step by step." : ".");
  }
  const Frame where = RefusalSite(facts);
  if (facts.oom->kind == MemoryKind::kContext) {
    return absl::StrCat("Out of memory ", During(PhaseName(facts.oom->phase)), " at ", ShortSite(where),
                        ": the CUDA context that ", facts.oom->api, " makes did not fit.");
  }
  const bool shaped = facts.oom->layout != 0 && facts.timeline->layouts[facts.oom->layout].has_shape();
  std::string tensor =
      shaped ? Shape(facts.timeline->layouts[facts.oom->layout].shape, facts.timeline->layouts[facts.oom->layout].dtype)
             : std::string("a buffer");
  return absl::StrCat("Out of memory ", During(PhaseName(facts.oom->phase)), " at ", ShortSite(where), ": ", tensor,
                      ", ", Bytes(facts.refused), ", did not fit.");
}

// What the allocator's model is worth here: an evidence, and an unknown where it does not hold.
void AddFidelity(const Timeline& timeline, const Fidelity& fidelity, report::Report& report) {
  if (fidelity.of == 0) return;
  report.add_evidence(absl::StrCat("Replay fidelity: ", fidelity.matched, " of ", fidelity.of,
                                   " device allocations reproduced by the allocator model."));
  if (fidelity.StreamHolds()) return;
  if (fidelity.Holds()) {
    report.add_unknown(absl::StrCat("What other settings of PyTorch's allocator would give: of the ",
                                    timeline.left_out + static_cast<int64_t>(timeline.tensors.size()),
                                    " tensors of this long trace the short-lived ones have no record, and the others "
                                    "alone do not reproduce the run."));
    return;
  }
  report.add_unknown(
      "What other settings of PyTorch's allocator would give: the model of it did not reproduce this run (it does not "
      "know private pools that are gone, tensors used on several streams, nor what is missing from a trace).");
}

// The process did not die of it, one of its threads did.
void AddThreadDeath(const Facts& facts, Pattern& pattern) {
  if (!facts.oom || facts.oom->thread_failed == kNever) return;
  const Timeline& t = *facts.timeline;
  pattern.evidence.insert(
      pattern.evidence.begin(),
      absl::StrCat("The error ended ", ThreadName(t, facts.oom->thread), "; the process ",
                   t.exited ? absl::StrCat("went on and ended with status ", t.exit_status) : std::string("went on"),
                   "."));
}

void AddOwnLimit(const Facts& facts, Pattern& pattern) {
  if (!facts.oom || !facts.oom->by_allocator || !facts.refused_by_limit) return;
  pattern.evidence.push_back(absl::StrCat("The pluggable allocator refused by itself, with ",
                                          Bytes(facts.device.free()), " free on the device: a limit of its own, of ",
                                          Bytes(facts.memory_limit), " or little more, or an error in it."));
}

void DiagnoseTraining(const Timeline& timeline, Diagnosis& d) {
  d.leak = FindLeak(timeline, d.facts.oom ? d.facts.oom->time : timeline.end, d.facts.oom != nullptr);
  if (!d.facts.oom) LeaveOutWhatHasALimit(d.facts, d.leak);
  d.leak.with_graph = LeaksGraphs(d.facts, d.leak);
  for (const uint32_t i : LeakedTensors(d.facts, d.leak)) {
    const Tensor& tensor = timeline.tensors[i];
    d.facts.leaked[static_cast<int>(tensor.category)] += tensor.bytes;
  }
  d.kept = FindKeptOutputs(d.facts);
  d.pattern = DecidePattern(d.facts, d.leak, d.kept);
  // A list that each evaluation makes anew, longer each time, is the leak that decides.
  if (d.pattern.name == "gradual_leak" && d.kept.found &&
      d.leak.stacks().contains(timeline.tensors[d.kept.example].stack)) {
    d.kept = KeptOutputs();
  }
  d.pools = FindPrivatePools(d.facts, d.leak);
  d.pools.decides &= d.pattern.name != "other_process";
  if (d.pools.decides) d.pattern = PrivatePoolsPattern(d.facts, d.pools, d.leak);
  if (!d.kept.found && !d.pools.decides && d.pattern.name != "gradual_leak" && d.pattern.name != "other_process")
    d.kv = FindKvGrowth(d.facts);
  if (d.kv.found) d.pattern.evidence.insert(d.pattern.evidence.begin() + 1, KvSentence(d.facts, d.kv));
  d.outside = FindOutsideGrowth(d.facts);
  // What PyTorch's own tensors, or other processes, explain comes first.
  d.outside.decides &= d.pattern.name != "gradual_leak" && d.pattern.name != "other_process";
  if (d.outside.decides) d.pattern = OutsidePattern(d.facts, d.outside);
  if (!d.facts.oom && d.outside.growth.found)
    d.pattern.evidence.push_back(absl::StrCat("Warning: ", OutsideSentence(d.facts, d.outside.growth), "."));
  report::Report& report = d.report;
  report.set_pattern(d.pattern.name);
  report.set_confidence(d.pattern.confidence);
  const auto add = [&](const Cause& cause) {
    report::Cause* out = report.add_causes();
    out->set_id(cause.id);
    out->set_confidence(cause.confidence);
    out->set_title(cause.title);
  };
  if (d.outside.decides) {
    add({"accumulating_allocations",
         "one place outside PyTorch allocates again and again, and what it made before stays", 0.85});
  }
  if (d.kv.found) {
    add({"kv_cache_grows",
         d.kv.never_emptied() ? "the cache of keys and values is not emptied between prompts"
                              : "the cache of keys and values grows with the sequence",
         d.kv.never_emptied() ? 0.95 : 0.9});
  }
  for (const Cause& cause : RankCauses(d.facts, d.leak, d.kept, d.pools, d.pattern)) add(cause);
  if (d.outside.decides) {
    const DeviceSite& site = d.outside.growth.site;
    FillDeviceCulprit(timeline, site.library, site.caller, site.stack, site.bytes, report.mutable_culprit());
  } else if (d.pools.decides) {
    FillPrivatePoolsCulprit(d.facts, d.pools, d.leak.found ? HolderOf(d.facts, d.leak) : "", report.mutable_culprit());
  } else if (d.kv.found) {
    FillTensorCulprit(timeline, timeline.tensors[d.kv.example], *report.mutable_culprit());
    report.mutable_culprit()->set_holder(d.kv.holder);
  } else {
    *report.mutable_culprit() = FindCulprit(d.facts, d.leak, d.kept, d.pattern);
  }
  if (d.pools.decides) {
    FillPrivatePoolsLeak(d.facts, d.pools, d.leak, report.culprit(), report.mutable_leak());
  } else {
    FillLeak(d.facts, d.leak, *report.mutable_leak());
  }
  if (!d.pools.decides && !report.culprit().holder().empty() && report.leak().bytes_per_step() > 0) {
    report.mutable_leak()->set_holder(report.culprit().holder());
    for (const std::string& other : OtherHoldersOf(d.facts, d.leak)) report.mutable_leak()->add_other_holders(other);
    if (report.leak().other_holders_size() > 0) {
      d.pattern.evidence.insert(
          d.pattern.evidence.begin() + 1,
          absl::StrCat("It is kept by ", absl::StrJoin(report.leak().other_holders(), ", and by "),
                       " as well: the memory comes back when each of them lets go."));
    }
  }
  report.set_summary(Summary(d));
}

}  // namespace

Diagnosis Diagnose(const Timeline& timeline, TraceReader* reader, const Progress& progress) {
  Diagnosis d;
  d.facts = GatherFacts(timeline);
  report::Report& report = d.report;
  *report.mutable_device() = d.facts.device;
  FillCategories(d.facts, *report.mutable_categories());
  FillPeak(d.facts, *report.mutable_peak());
  report.set_steps_completed(d.facts.steps);
  if (!WithoutTorch(timeline)) report.set_step_noun(d.facts.step_noun);
  report.set_allocator(AllocatorName(timeline));
  FillOutOfMemory(d.facts, *report.mutable_out_of_memory());
  if (WithoutTorch(timeline)) {
    DiagnoseDeviceProgram(timeline, &d);
    if (!d.facts.oom && EndMayBeLost(timeline))
      report.set_summary(absl::StrCat("How it ended is not in the trace, which lost ", Count(timeline.dropped, "event"),
                                      "; until there: ", report.summary()));
  } else {
    DiagnoseTraining(timeline, d);
  }
  AddThreadDeath(d.facts, d.pattern);
  AddOwnLimit(d.facts, d.pattern);
  report.set_confidence(std::min(report.confidence(), MostConfidence(timeline)));
  for (const std::string& sentence : d.pattern.evidence) report.add_evidence(sentence);
  if (UsesCachingAllocator(timeline)) d.fidelity = CheckFidelity(timeline, reader, progress);
  AddFidelity(timeline, d.fidelity, report);
  for (const std::string& sentence : Unknowns(d.facts)) report.add_unknown(sentence);
  for (report::Owner& owner : FindOwners(d.facts, kOwnersReported)) *report.add_owners() = std::move(owner);
  AddDeviceOwners(timeline, d.facts, kDeviceOwnersReported, &report);
  for (const GpuProcess& process : timeline.gpu_processes) {
    if (process.self) continue;
    report::Process* out = report.add_processes();
    out->set_pid(process.pid);
    out->set_name(process.name);
    out->set_bytes(process.bytes);
  }
  FillPeaks(d.facts, report);
  FillGpuTime(d.facts, *report.mutable_gpu_time());
  if (!WithoutTorch(timeline)) d.dead_weight = FindDeadWeight(d.facts);
  FillDeadWeight(d.facts, d.dead_weight, d.fidelity.StreamHolds(), *report.mutable_dead_weight());
  FillTrace(timeline, *report.mutable_trace());
  return d;
}

}  // namespace oomtrace
