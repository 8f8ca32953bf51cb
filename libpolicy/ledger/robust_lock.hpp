// RobustLock: holds a process-shared lock whose holder may die; whoever comes next repairs what it guards first.
#pragma once

#include <pthread.h>

#include <cerrno>
#include <ctime>

namespace sallyport {

inline bool init_robust_mutex(pthread_mutex_t& mutex) noexcept {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int error = pthread_mutex_init(&mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  return error == 0;
}

class RobustLock {
 public:
  // A stopped process must not stop the others; a writer needs microseconds, a repair some milliseconds.
  static constexpr long kWaitNs = 50'000'000;

  // repair() runs with the lock held. A death in it leaves the lock as it was: the next one repairs again.
  template <typename Repair>
  RobustLock(pthread_mutex_t& mutex, Repair repair) noexcept : mutex_(&mutex) {
    timespec until{};
    clock_gettime(CLOCK_MONOTONIC, &until);  // a bound on waiting, not a time that anything is judged by
    until.tv_nsec += kWaitNs;
    if (until.tv_nsec >= 1'000'000'000) {
      until.tv_nsec -= 1'000'000'000;
      ++until.tv_sec;
    }
    const int error = pthread_mutex_clocklock(mutex_, CLOCK_MONOTONIC, &until);
    if (error == EOWNERDEAD) {
      repair();
      pthread_mutex_consistent(mutex_);
    }
    held_ = error == 0 || error == EOWNERDEAD;
  }
  ~RobustLock() {
    if (held_) pthread_mutex_unlock(mutex_);
  }
  RobustLock(const RobustLock&) = delete;
  RobustLock& operator=(const RobustLock&) = delete;

  bool held() const noexcept { return held_; }

 private:
  pthread_mutex_t* mutex_;
  bool held_ = false;
};

}  // namespace sallyport
