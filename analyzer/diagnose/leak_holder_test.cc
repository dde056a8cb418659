#include "analyzer/diagnose/leak_holder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/diagnose.h"
#include "analyzer/diagnose/testing/training_run.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;

// A run that keeps one tensor a step; the i-th gets the i-th name, and the last step's none.
std::string HolderFor(const std::vector<std::string>& names) {
  TrainingRun run;
  std::vector<uint32_t> kept;
  for (size_t step = 0; step <= names.size(); ++step) {
    run.Iteration([&] { kept.push_back(run.Keep("train.py", 31, {64, 1000}, 8 * kMiB)); });
  }
  for (size_t i = 0; i < names.size(); ++i) run.raw().tensors[kept[i]].holder = names[i];
  return Diagnose(run.timeline()).report.leak().holder();
}

TEST(LeakHolder, IsTheContainerOfWhatItKeeps) {
  EXPECT_EQ(HolderFor({"Trainer.history[0]", "Trainer.history[1]", "Trainer.history[11]", "Trainer.history[12]"}),
            "Trainer.history");
}

TEST(LeakHolder, SharesWhatComesBeforeTheFirstDifference) {
  EXPECT_EQ(HolderFor({"snapshots[3].fc.weight", "snapshots[4].fc.bias", "snapshots[5].fc.weight", "snapshots[5].fc"}),
            "snapshots");
  EXPECT_EQ(HolderFor({"cache['x1']", "cache['x2']", "cache['x3']", "cache['y']"}), "cache");
  EXPECT_EQ(HolderFor({"log['out'][1]", "log['out'][2]", "log['out'][3]", "log['out'][4]"}), "log['out']");
}

TEST(LeakHolder, KeepsWhereTheNameStands) {
  EXPECT_EQ(HolderFor({"losses[0] (local of main(), train.py:8)", "losses[1] (local of main(), train.py:8)",
                       "losses[2] (local of main(), train.py:8)", "losses[3] (local of main(), train.py:8)"}),
            "losses (local of main(), train.py:8)");
}

TEST(LeakHolder, WhatKeepsMostComesBeforeALocalVariable) {
  EXPECT_EQ(HolderFor({"history[0]", "history[1]", "history[2]", "out (local of step(), train.py:30)"}), "history");
}

TEST(LeakHolder, AGraphIsNamedByTheTensorItHangsFrom) {
  const std::string name = "graph of total_loss (a scalar; local of main(), train.py:8)";
  EXPECT_EQ(HolderFor({name, name, name, name}), name);
  EXPECT_TRUE(KeptByGraph(name));
  EXPECT_EQ(GraphOwner(name), "total_loss (a scalar; local of main(), train.py:8)");
  EXPECT_FALSE(KeptByGraph("graphs[3]"));
}

TEST(LeakHolder, AGraphMakesTheCauseOne) {
  TrainingRun run;
  for (int step = 0; step < 12; ++step) {
    run.Iteration([&] { run.Keep("train.py", 31, {64, 1000}, 8 * kMiB, /*grad_mode=*/true); });
  }
  for (Tensor& tensor : run.raw().tensors) {
    if (tensor.bytes == 8 * kMiB) tensor.holder = "graph of hidden (a tensor of shape (64, 512))";
  }
  const Diagnosis d = Diagnose(run.timeline());
  ASSERT_GT(d.report.causes_size(), 0);
  EXPECT_EQ(d.report.causes(0).id(), "accumulating_autograd_graph");
}

TEST(LeakHolder, WhatAContainerHoldsItselfIsNoGraph) {
  TrainingRun run;
  for (int step = 0; step < 12; ++step) {
    run.Iteration([&] {
      for (int line = 31; line < 35; ++line) run.Keep("train.py", line, {64, 1000}, 8 * kMiB, /*grad_mode=*/true);
    });
  }
  EXPECT_EQ(Diagnose(run.timeline()).report.causes(0).id(), "accumulating_autograd_graph");
  int number = 0;
  for (Tensor& tensor : run.raw().tensors) {
    if (tensor.bytes != 8 * kMiB) continue;
    tensor.holder = absl::StrCat("buffer[", number / 4, "][", number % 4, "]");
    ++number;
  }
  EXPECT_EQ(Diagnose(run.timeline()).report.causes(0).id(), "accumulating_tensors");
}

TEST(LeakHolder, OfATensorThatIsReplacedAnEarlierOneTells) {
  TrainingRun run;
  uint32_t bank = run.Keep("train.py", 12, {1, 1000}, 4 * kMiB);
  for (int step = 2; step < 40; ++step) {
    run.Iteration([&] {
      const uint32_t longer = run.Keep("train.py", 12, {step, 1000}, step * 4 * kMiB);
      run.Free(bank);
      bank = longer;
      if (step == 8) run.raw().tensors[bank].holder = "Contrast.bank";
    });
  }
  // The forward in work has read the last one.
  run.raw().tensors[bank].holder = "graph of logits (a tensor of shape (512, 4097))";
  const Diagnosis d = Diagnose(run.timeline());
  EXPECT_EQ(d.report.leak().holder(), "Contrast.bank");
  EXPECT_EQ(d.report.causes(0).id(), "accumulating_tensors");
}

TEST(LeakHolder, AVariableThatHoldsTheLastOneIsNoHolder) {
  EXPECT_EQ(HolderFor({"", "", "", "out (local of main(), train.py:8)"}), "");
  EXPECT_EQ(HolderFor({"", "", "", "history[3] (local of main(), train.py:8)"}),
            "history (local of main(), train.py:8)");
}

TEST(LeakHolder, ARemarkOnOneTensorIsNoneOnTheContainer) {
  EXPECT_EQ(HolderFor({"log[0] (it uses 4 of the 512 bytes that it keeps)", "log[1]", "log[2]", "log[3]"}), "log");
  const std::string each = " (it uses 4 of the 512 bytes that it keeps)";
  EXPECT_EQ(HolderFor({"log[0]" + each, "log[1]" + each, "log[2]" + each, "log[3]" + each}), "log" + each);
}

TEST(LeakHolder, AContainerWithALimitThatFitsIsNoLeak) {
  const auto named = [](const std::string& limit) {
    return HolderFor({"seen[0]" + limit, "seen[1]" + limit, "seen[2]" + limit, "seen[3]" + limit});
  };
  EXPECT_EQ(named(" (maxlen=20)"), "");
  EXPECT_EQ(named(" (functools.lru_cache, maxsize=128)"), "");
  EXPECT_EQ(named(" (maxlen=100000)"), "seen (maxlen=100000)");
}

// Parameters are not searched for: their owner has said so, by name.
TEST(LeakHolder, OfParametersIsTheModuleThatGrows) {
  TrainingRun run;
  run.raw().modules.push_back({7, 7, "", "Progressive"});
  for (int step = 0; step < 12; ++step) {
    run.Iteration([&] {
      const uint32_t tensor = run.Keep("train.py", 31, {64, 1000}, 8 * kMiB);
      const std::string name = "columns." + std::to_string(step) + ".weight";
      run.raw().roles.push_back({run.now(), 0, 8 * kMiB, Category::kParameter, name, 7, false, tensor});
    });
  }
  EXPECT_EQ(Diagnose(run.timeline()).report.leak().holder(), "Progressive.columns");
}

TEST(LeakHolder, OfParametersOfNoModuleIsTheOptimizer) {
  TrainingRun run;
  run.raw().optimizers.push_back({9, "Adam", "", 0, 0});
  for (int step = 0; step < 12; ++step) {
    run.Iteration([&] {
      const uint32_t tensor = run.Keep("train.py", 31, {64, 1000}, 8 * kMiB);
      const std::string name = "parameter " + std::to_string(step);
      run.raw().roles.push_back({run.now(), 0, 8 * kMiB, Category::kParameter, name, 9, false, tensor});
    });
  }
  EXPECT_EQ(Diagnose(run.timeline()).report.leak().holder(), "Adam.param_groups");
}

TEST(LeakHolder, WhoKeepsTheSameTensorsIsNamedToo) {
  TrainingRun run;
  std::vector<uint32_t> kept;
  for (int step = 0; step < 9; ++step) {
    run.Iteration([&] { kept.push_back(run.Keep("train.py", 31, {64, 1000}, 8 * kMiB)); });
  }
  for (int i = 0; i < 8; ++i) {
    const std::string index = "[" + std::to_string(i) + "]";
    run.raw().tensors[kept[static_cast<size_t>(i)]].holder =
        "graph of skipped" + index + " (a scalar; also kept by errors" + index + ", through a traceback)";
  }
  const report::Leak leak = Diagnose(run.timeline()).report.leak();
  EXPECT_EQ(leak.holder(), "graph of skipped (a scalar)");
  ASSERT_EQ(leak.other_holders_size(), 1);
  EXPECT_EQ(leak.other_holders(0), "errors, through a traceback");
}

// The step's own variable still holds what was made last; at the next step it lets go of it.
TEST(LeakHolder, AVariableThatIsBoundAnewInEachStepIsNoOther) {
  TrainingRun run;
  std::vector<uint32_t> kept;
  for (int step = 0; step < 9; ++step) {
    run.Iteration([&] { kept.push_back(run.Keep("train.py", 31, {64, 1000}, 8 * kMiB)); });
  }
  for (size_t i = 0; i < kept.size(); ++i) {
    run.raw().tensors[kept[i]].holder =
        absl::StrCat("graph of total (a scalar", i + 1 == kept.size() ? "; also kept by graph of penalty" : "", ")");
  }
  const report::Leak leak = Diagnose(run.timeline()).report.leak();
  EXPECT_EQ(leak.holder(), "graph of total (a scalar)");
  EXPECT_EQ(leak.other_holders_size(), 0);
}

TEST(LeakHolder, TwoContainersOfWhatLeaksAreBothNamed) {
  TrainingRun run;
  std::vector<uint32_t> kept;
  for (int step = 0; step < 12; ++step) {
    run.Iteration([&] { kept.push_back(run.Keep("train.py", 31, {64, 1000}, 8 * kMiB)); });
  }
  for (size_t i = 0; i < 8; ++i) {
    run.raw().tensors[kept[i]].holder = (i < 5 ? "train_log[" : "Board.images[") + std::to_string(i) + "]" +
                                        (i < 5 ? " (local of main(), a.py:3)" : "");
  }
  const report::Leak leak = Diagnose(run.timeline()).report.leak();
  EXPECT_EQ(leak.holder(), "train_log (local of main(), a.py:3)");
  ASSERT_EQ(leak.other_holders_size(), 1);
  EXPECT_EQ(leak.other_holders(0), "Board.images");
}

// A list on each of a few objects: the lists grow, the objects do not.
TEST(LeakHolder, OfListsOnAFewObjectsTheListIsNamed) {
  EXPECT_EQ(HolderFor({"Net[0].weight.history[0]", "Net[0].weight.history[40]", "Net[2].bias.history[20]",
                       "Net[0].weight.history[81]"}),
            "Net[0].weight.history");
  EXPECT_EQ(HolderFor({"records[0].losses[0]", "records[20].losses[1]", "records[41].losses[0]"}), "records");
}

TEST(LeakHolder, IsEmptyWhereNobodyLooked) { EXPECT_EQ(HolderFor({"", "", "", ""}), ""); }

}  // namespace
}  // namespace oomtrace
