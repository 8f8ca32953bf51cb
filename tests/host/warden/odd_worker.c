/* A worker that misbehaves in one way, BEHAVIOUR; stands in for sallyport-worker. Its channel is descriptor 3. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kGarbage = 1, kCloses, kDies, kServesThenMute, kServesThenBabbles, kRefuses };

static void say(const char* text) { (void)!write(3, text, strlen(text)); }

int main(void) {
  char message[4096];
  if (BEHAVIOUR == kGarbage) say("garbage");
  if (BEHAVIOUR == kCloses) close(3);
  if (BEHAVIOUR == kDies) return 9;
  if (BEHAVIOUR == kRefuses) say("{\"type\":\"failed\",\"text\":\"plugin x: no \\u001b[31m\\u009b\"}");
  if (BEHAVIOUR == kServesThenMute || BEHAVIOUR == kServesThenBabbles) say("{\"type\":\"serving\"}");
  if (BEHAVIOUR == kServesThenBabbles) {
    for (int i = 0; i < 1000; ++i) say("{\"type\":\"log\",\"plugin\":\"x\",\"text\":\"\\u001b]0;title\\u202e\"}");
  }
  for (;;) {
    if (BEHAVIOUR == kCloses || recv(3, message, sizeof message, 0) <= 0) pause();
  }
}
