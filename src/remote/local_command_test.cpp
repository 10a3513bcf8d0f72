#include "remote/local_command.h"

#include <csignal>
#include <gtest/gtest.h>
#include <string>

#include "fakes/fake_process_runner.h"
#include "fakes/temporary_folder.h"
#include "remote/local_daemon.h"
#include "remote/pool_arguments.h"
#include "sys/file_system.h"

namespace llorch {
namespace {

constexpr const char* listed = R"({"root":"/r","workers":[
 {"worker_id":"worker-cpu-1","pid":7,"model":"qwen","host":"0.0.0.0","port":8001,"status":"orphaned","alive":false},
 {"worker_id":"worker-cpu-2","pid":8,"model":"qwen","host":"::","port":8002,"status":"idle","alive":true},
 {"worker_id":"worker-cpu-3","pid":9,"model":"phi3","host":"127.0.0.1","port":8003,"status":"loading","alive":true}]})";

// clause: O-38
TEST(LocalWorkers, AreReadFromTheListOfThePool) {
  const auto workers = read_worker_list(listed);
  ASSERT_TRUE(workers);
  ASSERT_EQ(workers->size(), 3U);
  EXPECT_EQ((*workers)[0].address(), "127.0.0.1:8001");
  EXPECT_EQ((*workers)[1].address(), "[::1]:8002");
  EXPECT_FALSE(read_worker_list("no"));
  EXPECT_FALSE(read_worker_list("{}"));
}

// clause: O-38
TEST(LocalWorkers, AreAskedOnlyWhenTheyAreThereAndReady) {
  const auto workers = read_worker_list(listed).value();
  ASSERT_NE(worker_of(workers, "qwen"), nullptr);
  EXPECT_EQ(worker_of(workers, "qwen")->id, "worker-cpu-2");
  EXPECT_EQ(worker_of(workers, "phi3"), nullptr) << "it is loading";
  EXPECT_EQ(newcomer({workers[1]}, workers)->id, "worker-cpu-3");
  EXPECT_EQ(newcomer(workers, workers), nullptr);
}

// clause: O-38
TEST(Backends, AreChosenByTheirPriority) {
  const auto best = choose_backend(
      R"({"backends":[{"name":"cpu","available":true,"priority":3},{"name":"cuda","available":true,
          "priority":2},{"name":"metal","available":false,"priority":1,"reason":"no"}]})",
      "here");
  ASSERT_TRUE(best);
  EXPECT_EQ(*best, "cuda");
  const auto none = choose_backend(
      R"({"backends":[{"name":"cpu","available":false,"reason":"broken"}]})", "here");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::not_found);
  EXPECT_NE(none.error().message.find("cpu: broken"), std::string::npos);
}

// clause: O-37
TEST(LocalAddresses, AreThoseOfThisMachinesLoopback) {
  EXPECT_TRUE(local_url("http://127.0.0.1:8080"));
  EXPECT_TRUE(local_url("http://localhost:9000"));
  EXPECT_TRUE(local_url("http://[::1]:9000"));
  for (const char* url :
       {"http://gpu-1:8080", "https://127.0.0.1:8080", "http://127.0.0.1:8080/x", "8080"}) {
    EXPECT_FALSE(local_url(url)) << url;
  }
}

class DaemonFile : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::unique_ptr<FileSystem> files_ = make_file_system();
  FakeProcessRunner processes_;
  DaemonPlace place_{.files = *files_,
                     .processes = processes_,
                     .runtime = folder_.path(),
                     .program = "orchestratord"};
};

// clause: O-37
TEST_F(DaemonFile, AbsentMeansNoneAndDamagedIsSaid) {
  EXPECT_FALSE(read_daemon(place_).value().has_value());
  for (const char* text :
       {"", "{}", R"({"pid":1,"pid_start_time":2})", R"({"pid":-5,"pid_start_time":2})"}) {
    ASSERT_TRUE(files_->write_atomic(folder_.path() / "orchestratord.json", text));
    const auto read = read_daemon(place_);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().next, "delete it");
  }
}

// clause: O-37
TEST_F(DaemonFile, NamesTheOneProcessThatIsStopped) {
  const auto file = folder_.path() / "orchestratord.json";
  for (const std::uint64_t start : {5U, 6U}) {
    SCOPED_TRACE(start);
    ASSERT_TRUE(files_->write_atomic(file, R"({"pid":77,"pid_start_time":5})"));
    processes_.processes[77] = {.name = "orchestratord", .start_time = start};
    processes_.signals.clear();
    processes_.on_signal = [this](Pid pid, int) { processes_.processes.erase(pid); };
    const auto record = read_daemon(place_);
    ASSERT_TRUE(record && *record);
    EXPECT_EQ(lives(processes_, **record), start == 5);
    ASSERT_TRUE(stop_daemon(place_, **record));
    // Another process that got the number is left alone.
    EXPECT_EQ(processes_.signals.size(), start == 5 ? 1U : 0U);
    EXPECT_FALSE(files_->stat(file));
  }
}

}  // namespace
}  // namespace llorch
