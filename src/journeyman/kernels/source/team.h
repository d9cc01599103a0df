// Running tasks on several threads, each of which takes the next task.
#pragma once

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "blocks.h"

// PyTorch's thread pool, if its library is loaded (GNU's and LLVM's OpenMP both have this entry): a second pool
// would compete with the first one, whose idle threads spin for a while. Weak, because it may be absent.
extern "C" __attribute__((weak)) void GOMP_parallel(void (*)(void*), void*, unsigned, unsigned);

namespace {

// Calls task(i) once for each i < count on several threads. Throws bad_alloc if a task did.
template <typename Task>
class Team {
 public:
  Team(Task& task, index_t count) : task_(task), count_(count) {}

  void run(int threads) {
    const auto wanted = static_cast<unsigned>(std::clamp<index_t>(threads, 1, std::max<index_t>(count_, 1)));
    if (wanted == 1) {
      enter(this);
    } else if (GOMP_parallel != nullptr) {
      GOMP_parallel(&Team::enter, this, wanted, 0);
    } else {
      run_own(wanted);
    }
    if (failed_) throw std::bad_alloc();
  }

 private:
  static void enter(void* self) { static_cast<Team*>(self)->work(); }

  void work() {
    try {
      for (index_t i = next_++; i < count_; i = next_++) task_(i);
    } catch (const std::bad_alloc&) {
      failed_ = true;
    }
  }

  void run_own(unsigned wanted) {
    std::vector<std::thread> others;
    others.reserve(wanted);
    try {
      for (unsigned i = 1; i < wanted; ++i) others.emplace_back(&Team::enter, this);
    } catch (const std::system_error&) {
      // Fewer threads do the same work.
    }
    work();
    for (auto& other : others) other.join();
  }

  Task& task_;
  const index_t count_;
  std::atomic<index_t> next_{0};
  std::atomic<bool> failed_{false};
};

template <typename Task>
void in_parallel(index_t count, int threads, Task task) {
  Team<Task>(task, count).run(threads);
}

}  // namespace
