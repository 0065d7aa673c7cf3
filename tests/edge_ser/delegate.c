/* Two TFLite delegates for tests: one that takes no operation, one without a device
 * (compiled with -DNO_DEVICE). The struct is TfLiteDelegate of tensorflow/lite/core/c. */
#include <stddef.h>
#include <stdint.h>

typedef struct TfLiteDelegate {
  void* data;
  int (*prepare)(void* context, struct TfLiteDelegate* delegate);
  void* copy_from_buffer_handle;
  void* copy_to_buffer_handle;
  void* free_buffer_handle;
  int64_t flags;
  void* opaque_delegate_builder;
} TfLiteDelegate;

static int prepare(void* context, TfLiteDelegate* delegate) { return 0; }
static TfLiteDelegate idle = {.prepare = prepare};

TfLiteDelegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count,
                                              void (*report)(const char*)) {
#ifdef NO_DEVICE
  report("no device found");
  return NULL;
#else
  return &idle;
#endif
}

void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) {}
