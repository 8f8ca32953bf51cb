/* Stands in for sallyport-worker at a gate. What it does wrong, and when, is a word in its plugins' config:
 *   refuse-start  dies-at-start  mute-at-start  refuse-publish  mute-at-publish  dies-at-publish  never-drains
 * Its channel is descriptor 3. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char setup[1 << 17], message[1 << 17];

static int odd(const char* word) { return strstr(setup, word) != NULL; }
static void say(const char* text) { (void)!write(3, text, strlen(text)); }

static void publish(void) {
  const char* number = strstr(message, "\"generation\":");
  char answer[256];
  if (odd("dies-at-publish")) exit(9);
  if (odd("mute-at-publish")) return;
  snprintf(answer, sizeof answer, "{\"type\":\"%s\",\"generation\":%ld,\"text\":\"no \\u001b[31m\"}",
           odd("refuse-publish") ? "failed_publish" : "published", number ? atol(number + 13) : 0);
  say(answer);
}

static void crash(int signal) {
  (void)signal;
  _exit(9);
}

int main(void) {
  signal(SIGUSR1, crash); /* what has no handler never reaches the first process of a namespace */
  for (;;) {
    const long size = recv(3, message, sizeof message - 1, 0);
    if (size <= 0) return 0;
    message[size] = 0;
    if (strstr(message, "\"type\":\"setup\"")) {
      memcpy(setup, message, sizeof setup);
    } else if (strstr(message, "\"type\":\"start\"")) {
      if (odd("dies-at-start")) return 9;
      if (odd("refuse-start")) say("{\"type\":\"failed\",\"text\":\"plugin x: no \\u001b[31m\"}");
      if (!odd("refuse-start") && !odd("mute-at-start")) say("{\"type\":\"serving\"}");
    } else if (strstr(message, "\"type\":\"publish\"")) {
      publish();
    } else if (strstr(message, "\"type\":\"ping\"")) {
      say(odd("not-well") ? "{\"type\":\"pong\",\"health\":{\"dns\":{\"ok\":false}}}" : "{\"type\":\"pong\"}");
    } else if (strstr(message, "\"type\":\"drain\"")) {
      say("{\"type\":\"draining\",\"flows_left\":3}");
      if (!odd("never-drains")) return 0;
    } else if (strstr(message, "\"type\":\"stop\"")) {
      return 0;
    }
  }
}
